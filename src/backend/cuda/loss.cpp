// SPDX-License-Identifier: Apache-2.0
// Cross-entropy of the next token in chunks of rows.
#include "backend/cuda/cuda_backend.h"
#include "kernels/cross_entropy.h"

#include <algorithm>
#include <cstring>

namespace indexcache {

std::vector<double> CudaBackend::next_token_loss(const RowLayout& rows, const Tensor& x,
                                                 const Tensor& lm_head, const Tensor& targets) {
  std::vector<double> sums(rows.segments.size(), 0.0);
  if (rows.total == 0) return sums;
  const Operation operation(*this, Component::loss);
  const std::int64_t vocabulary = lm_head.rows();
  const std::int64_t chunk =
      std::clamp<std::int64_t>(logits_bytes_ / (4 * vocabulary), 1, rows.total);
  const Tensor logits = allocate(chunk, vocabulary, DType::f32);
  const Tensor losses = allocate(rows.total, 1, DType::i64);  // float64
  for (std::int64_t first = 0; first < rows.total; first += chunk) {
    const std::int64_t count = std::min(chunk, rows.total - first);
    multiply(x.row_range(first, count), lm_head, logits.row_range(0, count), Store::assign,
             stream_.get(), 0);
    INDEXCACHE_CUDA(kernels::cross_entropy({.logits = logits.data<float>(),
                                            .targets = targets.data<std::int32_t>() + first,
                                            .losses = losses.data<double>() + first,
                                            .rows = count,
                                            .vocabulary = vocabulary},
                                           stream_.get()));
  }
  const cuda::DeviceRows& places = layouts_.get(rows, rows);
  const Tensor totals = allocate(places.segment_count, 1, DType::i64);
  INDEXCACHE_CUDA(kernels::segment_sum({.values = losses.data<double>(),
                                        .segments = places.segments,
                                        .sums = totals.data<double>(),
                                        .segment_count = places.segment_count},
                                       stream_.get()));
  std::vector<double> filled(static_cast<std::size_t>(places.segment_count));
  download_raw(totals, filled.data());
  std::size_t next = 0;  // the device skips empty segments
  for (std::size_t s = 0; s < sums.size(); ++s) {
    if (rows.segments[s].rows > 0) sums[s] = filled[next++];
  }
  return sums;
}

}  // namespace indexcache
