// SPDX-License-Identifier: Apache-2.0
// Cross-entropy of the next token, and how its distribution differs from a reference's, in chunks
// of rows. Where kernels/next_token.h applies, logits are reduced as they are computed
// (next_token.cpp); else those of a chunk are written first.
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

}  // namespace

void CudaBackend::written_losses(const Tensor& x, const Tensor& lm_head, const Tensor& targets,
                                 const Tensor& losses) {
  const std::int64_t rows = x.rows(), vocabulary = lm_head.rows();
  const std::int64_t chunk = loss_rows(rows, 4 * vocabulary);
  const Tensor logits = allocate(chunk, vocabulary, DType::f32);
  for (std::int64_t first = 0; first < rows; first += chunk) {
    const std::int64_t count = std::min(chunk, rows - first);
    multiply(x.row_range(first, count), lm_head, logits.row_range(0, count), Store::assign,
             stream_.get(), 0);
    queue_losses(logits, count, targets.data<std::int32_t>() + first, losses.data<double>() + first,
                 stream_.get());
  }
}

void CudaBackend::written_comparisons(const Tensor& reference, std::span<const Tensor> xs,
                                      const Tensor& lm_head, const Tensor& targets,
                                      const Comparisons& out) {
  const std::int64_t rows = reference.rows(), vocabulary = lm_head.rows();
  const std::int64_t chunk = loss_rows(rows, 2 * vocabulary * 4);
  const Tensor reference_logits = allocate(chunk, vocabulary, DType::f32);
  const Tensor logits = allocate(chunk, vocabulary, DType::f32);
  for (std::int64_t first = 0; first < rows; first += chunk) {
    const std::int64_t count = std::min(chunk, rows - first);
    const auto* const own_targets = targets.data<std::int32_t>() + first;
    const auto project = [&](const Tensor& x, const Tensor& to) {
      multiply(x.row_range(first, count), lm_head, to.row_range(0, count), Store::assign,
               stream_.get(), 0);
    };
    project(reference, reference_logits);
    for (std::size_t i = 0; i < xs.size(); ++i) {
      const std::int64_t at = static_cast<std::int64_t>(i) * rows + first;
      project(xs[i], logits);
      queue_losses(logits, count, own_targets, out.loss.data<double>() + at, stream_.get());
      INDEXCACHE_CUDA(kernels::compare_logits({.reference = reference_logits.data<float>(),
                                               .logits = logits.data<float>(),
                                               .targets = own_targets,
                                               .kl = out.kl.data<double>() + at,
                                               .same_top = out.same_top.data<std::uint8_t>() + at,
                                               .rows = count,
                                               .vocabulary = vocabulary},
                                              stream_.get()));
    }
  }
}

std::vector<double> CudaBackend::next_token_loss(const RowLayout& rows, const Tensor& x,
                                                 const Tensor& lm_head, const Tensor& targets) {
  std::vector<double> sums(rows.segments.size(), 0.0);
  if (rows.total == 0) return sums;
  const Operation operation(*this, Component::loss);
  const Tensor losses = allocate(rows.total, 1, DType::i64);  // float64
  if (reduces_logits(x, lm_head)) {
    reduced_losses(x, lm_head, targets, losses);
  } else {
    written_losses(x, lm_head, targets, losses);
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
  const auto count_of_xs = static_cast<std::int64_t>(xs.size());
  const Comparisons out{.loss = allocate(count_of_xs, rows.total, DType::i64),
                        .kl = allocate(count_of_xs, rows.total, DType::i64),
                        .same_top = allocate(count_of_xs, rows.total, DType::u8)};
  const bool reduces =
      reduces_logits(reference, lm_head) &&
      std::ranges::all_of(xs, [&](const Tensor& x) { return reduces_logits(x, lm_head); });
  if (reduces) {
    reduced_comparisons(reference, xs, lm_head, targets, out);
  } else {
    written_comparisons(reference, xs, lm_head, targets, out);
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
