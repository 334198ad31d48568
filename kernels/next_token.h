// SPDX-License-Identifier: Apache-2.0
// Next-token losses of rows, and how their predictions differ from those of reference rows, with
// the product by lm_head in the same kernel, so that logits need not be written: only what 256
// columns of a row contribute. In bf16 on Hopper (grouped_gemm.h), sums as cross_entropy.h and
// compare_logits.h have them, in another order.
#pragma once

#include "kernels/grouped_gemm.h"

namespace indexcache::kernels {

inline constexpr int kNextTokenColumns = 256;

// Of that many columns of a row: the highest logit, the lowest token that has it, the sum of
// exp(logit - peak), and the sum of exp(r - reference's peak) * (r - logit) over the reference's
// logits r, or 0 without one.
struct alignas(16) NextTokenPart {
  float peak, sum, weighted;
  std::int32_t top;
};

// Of a reference's row: its highest logit, sum of exp(logit - peak), and its token.
struct NextTokenReference {
  double sum;
  float peak;
  std::int32_t top;
};

struct NextTokenParams {
  const void* x;  // bf16 [rows, x_stride], 16-byte aligned
  std::int64_t x_stride;
  const GroupedWeight* lm_head;  // one, of bf16 [vocabulary, depth], in device memory
  std::int64_t rows;
  int vocabulary, depth;
  const std::int32_t* targets;  // [rows]; a row with a negative one is 0 in all results
  // Scratch.
  std::int32_t* scratch;  // [grouped_gemm_scratch(1)], 128-byte aligned
  NextTokenPart* parts;   // [rows, next_token_parts(vocabulary)]
  float* target_logits;   // [rows]
};

constexpr std::int64_t next_token_parts(std::int64_t vocabulary) {
  return (vocabulary + kNextTokenColumns - 1) / kNextTokenColumns;
}

// Whether the functions below take it; decided by widths and addresses.
bool next_token_applies(const NextTokenParams& params);

// losses[r] = logsumexp(logits[r]) - logits[r, target], float64.
cudaError_t next_token_losses(const NextTokenParams& params, double* losses, cudaStream_t stream);

// Also keeps the logits, float32 [rows, vocabulary], and what the next function needs of them.
cudaError_t next_token_reference(const NextTokenParams& params, float* logits,
                                 NextTokenReference* reference, cudaStream_t stream);

struct NextTokenComparison {
  const float* reference_logits;        // as next_token_reference() wrote them
  const NextTokenReference* reference;  // [rows]
  double* losses;                       // [rows], with the bits of next_token_losses()
  double* kl;                           // [rows] KL(reference || row), clamped to >= 0
  std::uint8_t* same_top;               // [rows] 1 if the highest logits are of one token
};
cudaError_t compare_next_tokens(const NextTokenParams& params, const NextTokenComparison& to,
                                cudaStream_t stream);

}  // namespace indexcache::kernels
