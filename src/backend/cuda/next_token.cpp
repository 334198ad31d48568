// SPDX-License-Identifier: Apache-2.0
// Losses and comparisons of next tokens through kernels/next_token.h.
#include "kernels/next_token.h"

#include "backend/cuda/cuda_backend.h"

#include <algorithm>

namespace indexcache {
namespace {

// Scratch of one row, in bytes.
std::int64_t part_bytes(std::int64_t vocabulary) {
  return kernels::next_token_parts(vocabulary) *
             static_cast<std::int64_t>(sizeof(kernels::NextTokenPart)) +
         static_cast<std::int64_t>(sizeof(kernels::NextTokenReference) + sizeof(float));
}

// Without weights and scratch.
kernels::NextTokenParams params_of(const Tensor& x, const Tensor& lm_head) {
  kernels::NextTokenParams params{};
  params.x = x.data<void>();
  params.x_stride = x.stride();
  params.rows = x.rows();
  params.vocabulary = static_cast<int>(lm_head.rows());
  params.depth = static_cast<int>(lm_head.cols());
  return params;
}

}  // namespace

bool CudaBackend::reduces_logits(const Tensor& x, const Tensor& lm_head) const {
  return x.dtype() == DType::bf16 && lm_head.dtype() == DType::bf16 &&
         kernels::next_token_applies(params_of(x, lm_head));
}

// For chunks of at most `rows` rows; `targets` are those of the rows.
struct CudaBackend::LogitReducer {
  LogitReducer(CudaBackend& backend, std::int64_t rows, const Tensor& head, const Tensor& all)
      : b(backend),
        lm_head(head),
        targets(all),
        scratch(b.allocate(1, kernels::grouped_gemm_scratch(1), DType::i32)),
        parts(b.allocate(rows, 4 * kernels::next_token_parts(head.rows()), DType::f32)),
        target_logits(b.allocate(rows, 1, DType::f32)) {}

  // Of rows [first, first + count) of x.
  kernels::NextTokenParams params(const Tensor& x, std::int64_t first, std::int64_t count) const {
    kernels::NextTokenParams params = params_of(x.row_range(first, count), lm_head);
    params.lm_head = b.tables_.get(std::span(&lm_head, 1));
    params.targets = targets.data<std::int32_t>() + first;
    params.scratch = scratch.data<std::int32_t>();
    params.parts = static_cast<kernels::NextTokenPart*>(parts.data<void>());
    params.target_logits = target_logits.data<float>();
    return params;
  }

  CudaBackend& b;
  const Tensor& lm_head;
  const Tensor& targets;
  const Tensor scratch, parts, target_logits;
};

void CudaBackend::reduced_losses(const Tensor& x, const Tensor& lm_head, const Tensor& targets,
                                 const Tensor& losses) {
  const std::int64_t rows = x.rows();
  const std::int64_t chunk = loss_rows(rows, part_bytes(lm_head.rows()));
  const LogitReducer reducer(*this, chunk, lm_head, targets);
  for (std::int64_t first = 0; first < rows; first += chunk) {
    INDEXCACHE_CUDA(
        kernels::next_token_losses(reducer.params(x, first, std::min(chunk, rows - first)),
                                   losses.data<double>() + first, stream_.get()));
  }
}

void CudaBackend::reduced_comparisons(const Tensor& reference, std::span<const Tensor> xs,
                                      const Tensor& lm_head, const Tensor& targets,
                                      const Comparisons& out) {
  const std::int64_t rows = reference.rows(), vocabulary = lm_head.rows();
  const std::int64_t chunk = loss_rows(rows, 4 * vocabulary + part_bytes(vocabulary));
  const LogitReducer reducer(*this, chunk, lm_head, targets);
  const Tensor logits = allocate(chunk, vocabulary, DType::f32);
  const Tensor summary = allocate(chunk, sizeof(kernels::NextTokenReference), DType::u8);
  auto* const of_reference = static_cast<kernels::NextTokenReference*>(summary.data<void>());
  for (std::int64_t first = 0; first < rows; first += chunk) {
    const std::int64_t count = std::min(chunk, rows - first);
    INDEXCACHE_CUDA(kernels::next_token_reference(reducer.params(reference, first, count),
                                                  logits.data<float>(), of_reference,
                                                  stream_.get()));
    for (std::size_t i = 0; i < xs.size(); ++i) {
      const std::int64_t at = static_cast<std::int64_t>(i) * rows + first;
      INDEXCACHE_CUDA(
          kernels::compare_next_tokens(reducer.params(xs[i], first, count),
                                       {.reference_logits = logits.data<float>(),
                                        .reference = of_reference,
                                        .losses = out.loss.data<double>() + at,
                                        .kl = out.kl.data<double>() + at,
                                        .same_top = out.same_top.data<std::uint8_t>() + at},
                                       stream_.get()));
    }
  }
}

}  // namespace indexcache
