// SPDX-License-Identifier: Apache-2.0
#include "backend/expert_products.h"

#include <algorithm>

namespace indexcache {
namespace {

// Elements of an expert's two upper matrices up to which kernels/expert_gemm.h is the fastest.
constexpr std::int64_t kSmallExpert = std::int64_t{512} * 512;

}  // namespace

ExpertProducts products_of_experts(const ExpertSizes& sizes, DType activation,
                                   bool has_warpgroups) {
  const std::int64_t whole = 16 / static_cast<std::int64_t>(size_of(activation));  // of a copy
  if (sizes.hidden % whole != 0 || sizes.middle % whole != 0) return ExpertProducts::single;
  if (sizes.experts <= kMostSmallExperts && 2 * sizes.middle * sizes.hidden <= kSmallExpert) {
    return ExpertProducts::small;
  }
  return activation == DType::bf16 && has_warpgroups ? ExpertProducts::groups
                                                     : ExpertProducts::single;
}

// The input is gone when the result is made, as are gate and up, which are written only to be
// quantized. Quantized inputs and products are smaller than this says.
std::int64_t grouped_expert_row_bytes(const ModelShape& shape, bool fp8) {
  constexpr std::int64_t kBytes = 2;
  const std::int64_t hidden = shape.hidden, middle = shape.moe_intermediate;
  const std::int64_t most = fp8 ? std::max(hidden + 2 * middle, 3 * middle) : hidden + middle;
  return shape.experts_used * (kExpertPlaceBytes + kBytes * most);
}

std::int64_t gpu_expert_row_bytes(const Device& gpu, const ModelShape& shape, bool has_warpgroups) {
  const ExpertSizes sizes{shape.routed_experts, shape.hidden, shape.moe_intermediate};
  return products_of_experts(sizes, gpu.activation(), has_warpgroups) == ExpertProducts::groups
             ? grouped_expert_row_bytes(shape, gpu.keeps_fp8())
             : gpu.Device::expert_row_bytes(shape);
}

}  // namespace indexcache
