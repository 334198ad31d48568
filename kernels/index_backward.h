// SPDX-License-Identifier: Apache-2.0
// Backward of the lightning indexer's scores (indexer_logits.h) over all candidates, from
// g = score_gradients. With s[t, h, u] = queries[t, h] . keys[u], which is computed again:
//   d_queries[t, h]      = sum_u  head_weights[t, h] [s > 0] g[t, u] keys[u]
//   d_head_weights[t, h] = sum_u  g[t, u] ReLU(s)
//   d_keys[u]           += sum_t sum_h head_weights[t, h] [s > 0] g[t, u] queries[t, h]
// Sums over u ascend. Sums over t begin with what d_keys holds and ascend with h inside a tile of
// queries; tiles are counted from a segment's first row, so a segment that is cut at multiples of
// kDistillTile rows and given in several launches yields the same bits.
//
//   bf16, whole sixteens up to 128   index_backward_mma.cu: warp-level tensor cores; the factor
//        head_weight [s > 0] g is rounded to bf16 for the second product, d_head_weights is not
//        affected
//   f32   index_backward_f32.cu: CUDA cores, FMA
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct IndexBackwardParams {
  const void* queries;  // type [rows, heads, width], 16-byte aligned
  const void* keys;     // type [key rows, width], 16-byte aligned
  Type type;
  const float* head_weights;     // [rows, heads]
  const float* score_gradients;  // [rows, stride], zero beyond a row as distill_rows() leaves them;
                                 // 16-byte aligned
  std::int64_t stride;           // a multiple of kDistillTile, at least most_keys
  const KeySegment* segments;    // [segment_count]; first_row counts in queries and gradients
  int segment_count;
  int most_rows;  // of any segment
  int most_keys;  // most candidates of any row
  int heads;
  int width;              // f32: a multiple of kIndexUnit
  float* d_queries;       // [rows, heads, width]
  float* d_head_weights;  // [rows, heads]
  float* d_keys;          // [key rows, width]
};

cudaError_t index_backward(const IndexBackwardParams& params, cudaStream_t stream);

// The kernels by themselves, for tests and benchmarks.
bool index_backward_mma_applies(Type type, int width);
cudaError_t index_backward_mma(const IndexBackwardParams& params, cudaStream_t stream);
cudaError_t index_backward_f32(const IndexBackwardParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
