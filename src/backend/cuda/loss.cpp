// SPDX-License-Identifier: Apache-2.0
// Cross-entropy of the next token, and how its distribution differs from a reference's, in chunks
// of rows.
#include "backend/cuda/cuda_backend.h"
#include "kernels/compare_logits.h"
#include "kernels/cross_entropy.h"

#include <algorithm>
#include <cstring>

namespace indexcache {
namespace {

// Of the first `rows` rows of `logits`.
void queue_losses(const Tensor& logits, std::int64_t rows, const std::int32_t* targets,
                  double* losses, cudaStream_t stream) {
  INDEXCACHE_CUDA(kernels::cross_entropy({.logits = logits.data<float>(),
                                          .targets = targets,
                                          .losses = losses,
                                          .rows = rows,
                                          .vocabulary = logits.cols()},
                                         stream));
}

// TokenComparison of every x on the device, a row of each tensor per x.
struct DeviceComparisons {
  Tensor loss, kl;  // float64 [xs, rows]
  Tensor same_top;  // u8 [xs, rows]
};

void queue_comparison(const Tensor& reference, const Tensor& logits, std::int64_t rows,
                      const std::int32_t* targets, const DeviceComparisons& out, std::int64_t at,
                      cudaStream_t stream) {
  queue_losses(logits, rows, targets, out.loss.data<double>() + at, stream);
  INDEXCACHE_CUDA(kernels::compare_logits({.reference = reference.data<float>(),
                                           .logits = logits.data<float>(),
                                           .targets = targets,
                                           .kl = out.kl.data<double>() + at,
                                           .same_top = out.same_top.data<std::uint8_t>() + at,
                                           .rows = rows,
                                           .vocabulary = logits.cols()},
                                          stream));
}

}  // namespace

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
    queue_losses(logits, count, targets.data<std::int32_t>() + first, losses.data<double>() + first,
                 stream_.get());
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

std::vector<TokenComparison> CudaBackend::compare_next_tokens(const RowLayout& rows,
                                                              const Tensor& reference,
                                                              std::span<const Tensor> xs,
                                                              const Tensor& lm_head,
                                                              const Tensor& targets) {
  std::vector<TokenComparison> results(xs.size());
  if (rows.total == 0 || xs.empty()) return results;
  const Operation operation(*this, Component::loss);
  const std::int64_t vocabulary = lm_head.rows();
  const std::int64_t chunk =
      std::clamp<std::int64_t>(logits_bytes_ / (2 * 4 * vocabulary), 1, rows.total);
  const Tensor reference_logits = allocate(chunk, vocabulary, DType::f32);
  const Tensor logits = allocate(chunk, vocabulary, DType::f32);
  const auto count_of_xs = static_cast<std::int64_t>(xs.size());
  const DeviceComparisons out{.loss = allocate(count_of_xs, rows.total, DType::i64),
                              .kl = allocate(count_of_xs, rows.total, DType::i64),
                              .same_top = allocate(count_of_xs, rows.total, DType::u8)};
  for (std::int64_t first = 0; first < rows.total; first += chunk) {
    const std::int64_t count = std::min(chunk, rows.total - first);
    const auto project = [&](const Tensor& x, const Tensor& to) {
      multiply(x.row_range(first, count), lm_head, to.row_range(0, count), Store::assign,
               stream_.get(), 0);
    };
    project(reference, reference_logits);
    for (std::size_t i = 0; i < xs.size(); ++i) {
      project(xs[i], logits);
      queue_comparison(reference_logits, logits, count, targets.data<std::int32_t>() + first, out,
                       static_cast<std::int64_t>(i) * rows.total + first, stream_.get());
    }
  }
  for (std::size_t i = 0; i < xs.size(); ++i) {
    const auto count = static_cast<std::size_t>(rows.total);
    const auto fetch = [&](const Tensor& from, auto& to) {
      to.resize(count);
      download_raw(from.row_range(static_cast<std::int64_t>(i), 1), to.data());
    };
    fetch(out.loss, results[i].loss);
    fetch(out.kl, results[i].kl);
    fetch(out.same_top, results[i].same_top);
  }
  return results;
}

}  // namespace indexcache
