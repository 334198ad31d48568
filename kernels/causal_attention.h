// SPDX-License-Identifier: Apache-2.0
// Exact attention over all candidates, every head with keys and values of its own, as expanded MLA
// has it:
//   out[t, h] = sum_u p[u] values[u, h],
//   p = softmax over u of scale * (q[t, h] . [nope[u, h] | rope[u]]),   u a candidate of t,
// where every row has at least one candidate. With sinks, the softmax of head h has one more logit,
// sinks[h], which is not scaled and has no value. Keys are taken in blocks from the first one of a
// sequence on, with a softmax that runs along (FlashAttention-2, arXiv 2307.08691); scores, softmax
// and sums in float32. One row depends on nothing but its sequence.
//
//   bf16, widths of 192 and 128 or 256 and 256, scale > 0, Hopper   causal_attention_sm90.cu:
//        wgmma; the probabilities are rounded to bf16
//   bf16, widths of whole sixteens   causal_attention_mma.cu: warp-level tensor cores, likewise
//   else  causal_attention.cu: CUDA cores, float32 throughout
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kCausalUnit = 4;
inline constexpr int kMostCausalKeyWidth = 256;  // of both parts together
inline constexpr int kMostCausalValueWidth = 256;

struct CausalAttentionParams {
  const void* queries;  // type [rows, heads, nope_width + rope_width]
  Type type;            // f32 or bf16, of all operands and out
  std::int64_t query_stride, query_head_stride;
  const void* nope;  // type [key rows, heads, nope_width]
  std::int64_t nope_stride, nope_head_stride;
  const void* rope;  // type [key rows, rope_width], shared by the heads
  std::int64_t rope_stride;
  const void* values;  // type [key rows, heads, value_width]
  std::int64_t value_stride, value_head_stride;
  const KeySegment* segments;  // [segment_count]
  int segment_count;
  int most_rows;  // of a segment
  void* out;      // type [rows, heads, value_width]
  std::int64_t out_stride, out_head_stride;
  int heads;
  int nope_width, rope_width;  // multiples of kCausalUnit, as are strides and value_width
  int value_width;
  float scale;
  const float* sinks;  // [heads], or null
};

cudaError_t causal_attention(const CausalAttentionParams& params, cudaStream_t stream);

// The kernels by themselves, for tests and benchmarks.
cudaError_t causal_attention_general(const CausalAttentionParams& params, cudaStream_t stream);
bool causal_attention_mma_applies(const CausalAttentionParams& params);
cudaError_t causal_attention_mma(const CausalAttentionParams& params, cudaStream_t stream);
bool causal_attention_sm90_applies(const CausalAttentionParams& params);
cudaError_t causal_attention_sm90(const CausalAttentionParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
