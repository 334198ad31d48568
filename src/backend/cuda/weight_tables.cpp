// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/weight_tables.h"

#include "backend/cuda/check.h"

namespace indexcache::cuda {
namespace {

// More than a resident model of the deepest family has; a program that lets go of weights and loads
// others does not grow without end.
constexpr std::size_t kMostTables = 4096;

}  // namespace

const kernels::GroupedWeight* WeightTables::get(std::span<const Tensor> weights) {
  std::vector<const void*> addresses;
  for (const Tensor& weight : weights) {
    addresses.push_back(weight.data<void>());
    addresses.push_back(weight.scales().data<void>());
  }
  if (tables_.size() >= kMostTables && !tables_.contains(addresses)) tables_.clear();
  std::shared_ptr<void>& table = tables_[addresses];
  if (!table) {
    std::vector<kernels::GroupedWeight> entries;
    for (const Tensor& weight : weights) {
      entries.push_back({weight.data<void>(), weight.scales().data<float>()});
    }
    const std::size_t bytes = entries.size() * sizeof(kernels::GroupedWeight);
    const std::shared_ptr<void> memory = memory_.allocate(bytes, Memory::workspace);
    // From pageable memory: the call returns after the entries have been read.
    INDEXCACHE_CUDA(
        cudaMemcpyAsync(memory.get(), entries.data(), bytes, cudaMemcpyHostToDevice, stream_));
    table = memory;
  }
  return static_cast<const kernels::GroupedWeight*>(table.get());
}

}  // namespace indexcache::cuda
