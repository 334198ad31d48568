// SPDX-License-Identifier: Apache-2.0
// Attention of every head over the selected rows of a latent cache, as absorbed MLA has it:
//   out[t, h] = sum_u p[u] values[u],   p = softmax over u of scale * (q[t, h] . keys[u]),
// u in sets[t], or every candidate of t, at least one, if `sets` is null. With sinks, the softmax
// of head h has one more logit, sinks[h], which is not scaled and has no value. Values are the
// first value_width columns of the keys. With `recent`, keys of a window come before those of the
// set, in one softmax: the last `window` candidates of the query among the rows there. Scores,
// softmax and sums in float32, keys in the order of the window and the set. A row depends on
// nothing else in the launch, unless sets are packed (packed_sets.h): then it depends on the sets
// of those with which it could be in a pack.
//
//   bf16, keys of 512 + 64, values of 512, scale > 0, Hopper   sparse_attention_sm90.cu, with at
//        most kFewHeads heads sparse_attention_few_sm90.cu: wgmma; the probabilities are rounded to
//        bf16. With a window, keys of 512 that are values: sparse_attention_sm90.cu, any heads
//   bf16, widths of whole sixteens   sparse_attention_mma.cu: warp-level tensor cores, likewise
//   packed sets   packs in sparse_attention_sm90.cu, the rest in sparse_attention_few_sm90.cu; or
//        all in sparse_attention_mma.cu
//   else  sparse_attention.cu: CUDA cores, float32 throughout
#pragma once

#include "kernels/packed_sets.h"
#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kAttentionKeyUnit = 4;
inline constexpr int kMostAttentionKeyWidth = 576;
inline constexpr int kMostAttentionValueWidth = 512;
inline constexpr int kFewHeads = 32;
// Rows of a tile, which are heads of one query or of a pack.
inline constexpr int kSm90TileHeads = 64;
inline constexpr int kMmaTileRows = 16;

struct SparseAttentionParams {
  const void* queries;  // type [rows, heads, key_width]
  Type type;            // f32 or bf16, of queries, keys and out
  std::int64_t query_stride, query_head_stride;
  // type [key rows, key_width], 16-byte aligned; may be null with `recent`: no candidates then
  const void* keys;
  std::int64_t key_stride;   // a multiple of kAttentionKeyUnit
  const std::int32_t* sets;  // [rows, k] candidates, or null
  std::int64_t sets_stride;
  int k;
  const RowPlace* places;  // [rows]
  void* out;               // type [rows, heads, value_width]
  std::int64_t out_stride, out_head_stride;
  std::int64_t rows;
  int heads;
  int key_width;    // at most kMostAttentionKeyWidth, a multiple of kAttentionKeyUnit
  int value_width;  // at most kMostAttentionValueWidth and key_width
  float scale;
  const float* sinks;  // [heads], or null

  const void* recent = nullptr;    // type [rows of positions, key_width], 16-byte aligned; or null
  std::int64_t recent_stride = 0;  // a multiple of kAttentionKeyUnit
  const RowPlace* recent_places = nullptr;  // [rows], whose candidates are rows of `recent`
  int window = 0;                           // at least 1 with `recent`

  PackedSets packed = {};  // of `sets`; or nothing is packed
};

// Whether the heads of a query come right before those of the next one, so that those of a pack are
// like the heads of one query.
inline bool heads_follow(const SparseAttentionParams& p) {
  return p.query_stride == p.heads * p.query_head_stride &&
         p.out_stride == p.heads * p.out_head_stride;
}

// Whether and how queries of these shapes may share tiles: only `queries` and `keys_per_query` are
// set. Looks at no pointer but for its alignment.
PackedSets packing_of(const SparseAttentionParams& params);

cudaError_t sparse_attention(const SparseAttentionParams& params, cudaStream_t stream);

// The kernels by themselves, for tests and benchmarks.
cudaError_t sparse_attention_general(const SparseAttentionParams& params, cudaStream_t stream);
bool sparse_attention_mma_applies(const SparseAttentionParams& params);
cudaError_t sparse_attention_mma(const SparseAttentionParams& params, cudaStream_t stream);
bool sparse_attention_sm90_applies(const SparseAttentionParams& params);
cudaError_t sparse_attention_sm90(const SparseAttentionParams& params, cudaStream_t stream);
// Only the packs of packed sets.
cudaError_t sparse_attention_packs_sm90(const SparseAttentionParams& params, cudaStream_t stream);
bool sparse_attention_few_sm90_applies(const SparseAttentionParams& params);
// Of packed sets, only the rest.
cudaError_t sparse_attention_few_sm90(const SparseAttentionParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
