// SPDX-License-Identifier: Apache-2.0
// How a GPU multiplies the rows of a layer's experts, and what that takes. Kernels do the work
// (backend/cuda); plans for GPUs that are not here ask the same functions.
#pragma once

#include "backend/device.h"

#include <cstdint>

namespace indexcache {

// All experts in one launch of the kernel for small ones (kernels/expert_gemm.h) or of that for
// large ones (kernels/grouped_gemm.h), or a product of cuBLASLt for each.
enum class ExpertProducts { small, groups, single };

// The most experts that one launch for small ones takes.
inline constexpr std::int64_t kMostSmallExperts = 256;

struct ExpertSizes {
  std::int64_t experts;  // of a layer
  std::int64_t hidden;
  std::int64_t middle;  // columns of `gate`
};

// Of weights in the activation type. Depends only on the sizes of the experts, so that a row has
// the same bits in any batch. `has_warpgroups`: of a Hopper GPU and a build for it.
ExpertProducts products_of_experts(const ExpertSizes& sizes, DType activation, bool has_warpgroups);

// Places of a row, for one of its experts, in the order of experts.
inline constexpr std::int64_t kExpertPlaceBytes = 16;

// Device::expert_row_bytes() of a GPU with ExpertProducts::groups, all in bf16 or some in FP8.
std::int64_t grouped_expert_row_bytes(const ModelShape& shape, bool fp8);

// Device::expert_row_bytes() of any GPU.
std::int64_t gpu_expert_row_bytes(const Device& gpu, const ModelShape& shape, bool has_warpgroups);

}  // namespace indexcache
