// SPDX-License-Identifier: Apache-2.0
#include "kernels/neighbors.h"

#include "backend/cuda/check.h"
#include "backend/cuda/cuda_backend.h"

#include <algorithm>

namespace indexcache {

static_assert(kernels::kMostNeighborColumns == kMostNeighborColumns);

std::vector<std::int64_t> CudaBackend::neighbor_counts(const RowLayout& rows, const Tensor& sets,
                                                       std::span<const std::int64_t> distances,
                                                       std::span<const std::int64_t> groups,
                                                       std::span<const std::int64_t> bucket_ends) {
  const Operation operation(*this, Component::other);
  const auto buckets = static_cast<std::int64_t>(bucket_ends.size());
  const std::size_t columns = distances.size() + groups.size();
  std::vector<std::int64_t> counts(bucket_ends.size() * columns, 0);
  if (rows.total == 0 || counts.empty()) return counts;
  const Tensor ends = upload_raw(bucket_ends.data(), buckets, 1, DType::i64, Memory::workspace);
  const Tensor total = upload_raw(counts.data(), buckets, static_cast<std::int64_t>(columns),
                                  DType::i64, Memory::workspace);
  const cuda::DeviceRows& places = layouts_.get(rows, rows);
  kernels::NeighborParams params{.sets = sets.data<std::int32_t>(),
                                 .sets_stride = sets.stride(),
                                 .places = places.places,
                                 .segments = places.segments,
                                 .bucket_ends = ends.data<std::int64_t>(),
                                 .counts = total.data<unsigned long long>(),
                                 .distances = {},
                                 .groups = {},
                                 .distance_count = static_cast<int>(distances.size()),
                                 .group_count = static_cast<int>(groups.size()),
                                 .segment_count = places.segment_count,
                                 .most_rows = places.most_rows,
                                 .k = static_cast<int>(sets.cols()),
                                 .longest = places.longest};
  if (columns > kMostNeighborColumns) INDEXCACHE_CUDA(cudaErrorInvalidValue);
  const auto narrow = [](std::int64_t n) { return static_cast<int>(n); };
  std::ranges::transform(distances, params.distances, narrow);
  std::ranges::transform(groups, params.groups, narrow);
  INDEXCACHE_CUDA(kernels::neighbors(params, stream_.get()));
  download_raw(total, counts.data());
  return counts;
}

}  // namespace indexcache
