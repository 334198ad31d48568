// SPDX-License-Identifier: Apache-2.0
// Lightning-indexer scores (DeepSeek-V3.2, docs/numerics.md):
//   logits[t, u] = key_scale[u] * sum_h head_weight[t, h] * ReLU(q[t, h] . k[u]),
//   u < candidates(t)
// with key_scale only for e4m3. Columns beyond a row's candidates are not written.
//
// Three kernels compute it, chosen by type and shape:
//   f32   indexer_logits_f32.cu: CUDA cores, FMA in ascending order of dimensions, then of heads
//   bf16, e4m3  indexer_logits_sm90.cu on Hopper, for a width of 128 and 16, 32 or 64 heads: wgmma,
//         with loads in warps of their own
//   else  indexer_logits_mma.cu: warp-level tensor cores (sm_80 and later); e4m3 is widened to
//         float16, which is exact
// Products accumulate in float32 (the FP8 tensor cores of Hopper keep fewer bits of a sum).
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kIndexUnit = 4;                   // of widths, f32
inline constexpr int kIndexTensorCoreUnit = 16;        // of widths, bf16 and e4m3
inline constexpr int kMostIndexTensorCoreWidth = 128;  // likewise

struct IndexerLogitsParams {
  const void* queries;  // type [rows, heads, width], 16-byte aligned
  const void* keys;     // type [key rows, width], 16-byte aligned
  Type type;
  const float* head_weights;  // [rows, heads], 16-byte aligned for wgmma
  const float* key_scales;    // [key rows] for e4m3, else null
  float* logits;              // [rows, logits_stride]
  std::int64_t logits_stride;
  const KeySegment* segments;  // [segment_count]; first_row counts in queries and logits
  int segment_count;
  int most_rows;  // of any segment
  int most_keys;  // most candidates of any row
  int heads;
  int width;  // f32: a multiple of kIndexUnit; others: within the limits of tensor cores
};

cudaError_t indexer_logits(const IndexerLogitsParams& params, cudaStream_t stream);

// The kernels by themselves, for tests and benchmarks.
cudaError_t indexer_logits_f32(const IndexerLogitsParams& params, cudaStream_t stream);
cudaError_t indexer_logits_mma(const IndexerLogitsParams& params, cudaStream_t stream);
bool indexer_logits_sm90_applies(const IndexerLogitsParams& params);
cudaError_t indexer_logits_sm90(const IndexerLogitsParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
