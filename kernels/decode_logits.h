// SPDX-License-Identifier: Apache-2.0
// Scores of the lightning indexer for one query per sequence over its pages (paged_cache.h):
//   logits[r, u] = key_scale[u] * sum_h head_weight[r, h] * ReLU(q[r, h] . k[u]),
//   u < places[r].candidates
// with key_scale only for e4m3. Other columns are not written. Every bit is that of
// indexer_logits_sm90.cu: the same products of 64 keys, and the same order of the sum over heads.
//
// It is for Hopper, a width of 128 and 16, 32 or 64 heads, as that kernel is; elsewhere, keys are
// gathered (gather_pages) for indexer_logits. The bound is memory: a key is read once, 132 bytes in
// FP8, and its products take less than that time.
#pragma once

#include "kernels/paged_cache.h"
#include "kernels/types.h"

namespace indexcache::kernels {

struct DecodeLogitsParams {
  const void* queries;        // type [rows, heads, width], 16-byte aligned
  Type type;                  // bf16 or e4m3
  const float* head_weights;  // [rows, heads]
  Pages pages;                // of `rows` for bf16, of index_fp8 for e4m3; row r is sequence r
  const RowPlace* places;     // [rows]
  float* logits;              // [rows, logits_stride]
  std::int64_t logits_stride;
  int rows;
  int most_keys;  // most candidates of any row
  int heads;
  int width;
};

bool decode_logits_sm90_applies(const DecodeLogitsParams& params);
cudaError_t decode_logits_sm90(const DecodeLogitsParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
