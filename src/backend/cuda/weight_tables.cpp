// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/weight_tables.h"

#include "backend/cuda/check.h"
#include "core/error.h"

#include <cstdint>

namespace indexcache::cuda {
namespace {

// More than a resident model of the deepest family has; a program that lets go of weights and loads
// others does not grow without end.
constexpr std::size_t kMostTables = 4096;

}  // namespace

const kernels::GroupedWeight* WeightTables::get(std::span<const Tensor> weights) {
  std::vector<Entry> entries;
  for (const Tensor& weight : weights) {
    const auto* const data = weight.data<void>();
    if (reinterpret_cast<std::uintptr_t>(data) % 16 != 0) {
      throw InternalError({"a weight of a grouped product is not aligned", "WeightTables::get",
                           "the copies of the kernel need 16 bytes", ""});
    }
    entries.emplace_back(data, weight.scales().data<float>());
  }
  if (tables_.size() >= kMostTables && !tables_.contains(entries)) tables_.clear();
  std::shared_ptr<void>& table = tables_[entries];
  if (!table) table = upload(entries);
  return static_cast<const kernels::GroupedWeight*>(table.get());
}

std::shared_ptr<void> WeightTables::upload(const std::vector<Entry>& entries) {
  std::vector<kernels::GroupedWeight> rows;
  for (const auto& [data, scales] : entries) rows.push_back({data, scales});
  const std::size_t bytes = rows.size() * sizeof(kernels::GroupedWeight);
  std::shared_ptr<void> memory = memory_.allocate(bytes, Memory::workspace);
  // From pageable memory: the call returns after the rows have been read.
  INDEXCACHE_CUDA(
      cudaMemcpyAsync(memory.get(), rows.data(), bytes, cudaMemcpyHostToDevice, stream_));
  return memory;
}

}  // namespace indexcache::cuda
