// SPDX-License-Identifier: Apache-2.0
// The lightning indexer over sets: scores of the selected candidates u_i = sets[t, i], and their
// backward from g = scores, as index_backward.h has them for all candidates:
//   scores[t, i]         = sum_h head_weights[t, h] ReLU(s[t, h, i]),  s = queries[t, h] .
//   keys[u_i] d_queries[t, h]      = factor * sum_i head_weights[t, h] [s > 0] g[t, i] keys[u_i]
//   d_head_weights[t, h] = factor * sum_i g[t, i] ReLU(s)
//   key_sums[u]         += 2^32 * sum_t sum_h head_weights[t, h] [s > 0] g[t, i] queries[t, h]
//   d_keys[u]           += factor * 2^-32 * key_sums[u]                        (add_key_sums)
// Many rows add to one key, in no order: key_sums are integers, whose sum has the same bits in
// every order. A term is rounded to 2^-32, at best a 2^-33th off, and a sum must stay below 2^31 in
// absolute value: g is at most 1 (q - p of a row, factor apart), so that rows * heads * |head
// weight|
// * |query element| < 2^31 is enough. Beyond that it wraps.
//
// CUDA cores, float32 FMA on operands of either type. A row depends on nothing else in the launch.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct GatherIndexParams {
  const void* queries;        // type [rows, heads, width], 16-byte aligned
  const void* keys;           // type [key rows, width], 16-byte aligned
  Type type;                  // f32 or bf16
  const float* head_weights;  // [rows, heads]
  const std::int32_t* sets;   // [rows, k] candidates
  std::int64_t sets_stride;
  int k;
  const RowPlace* places;  // [rows]
  std::int64_t rows;
  int heads;
  int width;      // a multiple of kIndexUnit
  float* scores;  // [rows, stride]
  std::int64_t stride;
  // Of the backward alone:
  float factor;
  float* d_queries;       // [rows, heads, width]
  float* d_head_weights;  // [rows, heads]
  long long* key_sums;    // [key rows, width]
};

cudaError_t gather_index_scores(const GatherIndexParams& params, cudaStream_t stream);
cudaError_t gather_index_backward(const GatherIndexParams& params, cudaStream_t stream);

struct KeySumsParams {
  const long long* key_sums;  // [elements]
  float* d_keys;              // [elements]
  float factor;
  std::int64_t elements;
};

cudaError_t add_key_sums(const KeySumsParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
