// SPDX-License-Identifier: Apache-2.0
// The matrices of a grouped product as its kernel finds them: a table in device memory.
#pragma once

#include "backend/cuda/device_memory.h"
#include "backend/tensor.h"
#include "kernels/grouped_gemm.h"

#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace indexcache::cuda {

// A table has only addresses, so that it is right whatever lies there: weights that are streamed
// come back to the same addresses layer after layer.
class WeightTables {
 public:
  // Works in the order of `stream`.
  WeightTables(DeviceMemory& memory, cudaStream_t stream) : memory_(memory), stream_(stream) {}

  // One entry for each of `weights`; valid for work that is queued before the next call.
  const kernels::GroupedWeight* get(std::span<const Tensor> weights);

 private:
  using Entry = std::pair<const void*, const float*>;  // numbers and scales of a weight

  std::shared_ptr<void> upload(const std::vector<Entry>& entries);

  DeviceMemory& memory_;
  cudaStream_t stream_;
  std::map<std::vector<Entry>, std::shared_ptr<void>> tables_;
};

}  // namespace indexcache::cuda
