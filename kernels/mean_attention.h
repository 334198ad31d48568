// SPDX-License-Identifier: Apache-2.0
// The attention distribution of every query averaged over heads, which share their keys:
//   sums[t, i] += weight / heads * sum_h softmax over i of scale * (queries[t, h] . keys[u_i])
// with u_i = i for every candidate i of t, or u_i = sets[t, i] for i < k. Other columns of sums are
// not written: none of a row without candidates. Heads are added in ascending order in float32; a
// row depends on nothing else in the launch.
//
// All candidates, in two passes that both compute the products, because logits of all heads would
// be far more bytes than the keys: the first leaves log sum_u exp(scale * q . k) of every query and
// head in scratch, the second adds exponentials minus that.
//   bf16, whole sixteens up to 576   mean_attention_mma.cu: warp-level tensor cores
//   else  mean_attention_general.cu: CUDA cores, FMA
// Sets: mean_attention_gather.cu, CUDA cores; logits of all heads in scratch.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kMeanAttentionUnit = 4;  // of widths and strides
inline constexpr int kMostMeanAttentionTensorCoreWidth = 576;
inline constexpr int kMostMeanAttentionGatherWidth = 1536;  // eight heads in shared memory

struct MeanAttentionParams {
  const void* queries;  // type [rows, heads, width], heads and rows 4 elements apart or multiples
  Type type;            // f32 or bf16, of queries and keys
  std::int64_t query_stride, query_head_stride;
  const void* keys;  // type [key rows, width], 16-byte aligned
  std::int64_t key_stride;
  const std::int32_t* sets;  // [rows, k] candidates, or null
  std::int64_t sets_stride;
  int k;
  const RowPlace* places;      // [rows]
  const KeySegment* segments;  // [segment_count]
  int segment_count;
  int most_rows;  // of any segment
  int most_keys;  // most candidates of any row
  std::int64_t rows;
  int heads;
  int width;
  float scale;
  float weight;
  float* sums;  // [rows, candidates]
  std::int64_t sums_stride;
  float* scratch;  // [rows, heads]; with sets [rows, heads, k]
};

cudaError_t mean_attention(const MeanAttentionParams& params, cudaStream_t stream);

// The kernels by themselves, for tests and benchmarks.
bool mean_attention_mma_applies(const MeanAttentionParams& params);
cudaError_t mean_attention_mma(const MeanAttentionParams& params, cudaStream_t stream);
cudaError_t mean_attention_general(const MeanAttentionParams& params, cudaStream_t stream);
cudaError_t mean_attention_gather(const MeanAttentionParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
