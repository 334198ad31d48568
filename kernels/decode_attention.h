// SPDX-License-Identifier: Apache-2.0
// Attention of one query per sequence over selected keys of its pages (paged_cache.h), as absorbed
// MLA has it:
//   out[r, h] = sum_u p[u] values[u],   p = softmax over u of scale * (q[r, h] . keys[u]),
// u in the first min(k, places[r].candidates) members of sets[r]. Values are the first value_width
// numbers of the keys. With sinks, the softmax of head h has one more logit, sinks[h], which is not
// scaled and has no value. Keys are bf16, or of latent_fp8, whose products with their scales are
// rounded to bf16.
//
// A row's members are cut into parts of kPartKeys, which blocks take by themselves: few sequences
// fill the machine. The parts of a row depend on the number of its members only, and are added up
// in ascending order, so that its bits depend on nothing else in the launch. Scores, softmax and
// sums are float32, and exponentials are rounded to bf16 before they meet the values.
//
// The bound is memory: a member is read once per 64 heads (1,152 or 656 bytes), and float32 results
// of a part (2,048 bytes per head) are written and read once.
#pragma once

#include "kernels/paged_cache.h"
#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kPartKeys = 128;
inline constexpr int kMostDecodeKeyWidth = 576;
inline constexpr int kMostDecodeValueWidth = 512;

// Of `members` members.
__host__ __device__ constexpr int decode_parts(int members) {
  return (members + kPartKeys - 1) / kPartKeys;
}

struct DecodeAttentionParams {
  const void* queries;  // bf16 [rows, heads, key_width], 16-byte aligned with its strides
  std::int64_t query_stride, query_head_stride;
  Pages pages;               // of `rows` (bf16) or latent_fp8; row r is sequence r
  const std::int32_t* sets;  // [rows, sets_stride] positions
  std::int64_t sets_stride;
  int k;
  const RowPlace* places;  // [rows]
  // What parts leave for their sum, P = decode_parts(k): exponentials are relative to `peaks`.
  float* mixed;         // [rows, P, heads, value_width]
  float *peaks, *sums;  // [rows, P, heads]
  void* out;            // bf16 [rows, heads, value_width]
  std::int64_t out_stride, out_head_stride;
  int rows;
  int heads;
  int key_width;    // a multiple of 16, at most kMostDecodeKeyWidth; 576 of latent_fp8
  int value_width;  // a multiple of 16, at most kMostDecodeValueWidth and key_width
  float scale;
  const float* sinks;  // [heads], or null
};

// Whether the device has the shared memory, and the operands the shape.
bool decode_attention_applies(const DecodeAttentionParams& params);
cudaError_t decode_attention(const DecodeAttentionParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
