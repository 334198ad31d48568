// SPDX-License-Identifier: Apache-2.0
// The matrices of a grouped product as its kernel finds them: a table of addresses in device
// memory.
#pragma once

#include "backend/cuda/device_memory.h"
#include "backend/tensor.h"
#include "kernels/grouped_gemm.h"

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <vector>

namespace indexcache::cuda {

// A table depends only on the addresses in it, so that it is right whatever lies there: weights
// that are streamed come back to the same addresses layer after layer.
class WeightTables {
 public:
  // Works in the order of `stream`.
  WeightTables(DeviceMemory& memory, cudaStream_t stream) : memory_(memory), stream_(stream) {}

  // One entry for each of `weights`; valid for work that is queued before the next call.
  const kernels::GroupedWeight* get(std::span<const Tensor> weights);

 private:
  DeviceMemory& memory_;
  cudaStream_t stream_;
  std::map<std::vector<const void*>, std::shared_ptr<void>> tables_;
};

}  // namespace indexcache::cuda
