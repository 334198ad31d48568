// SPDX-License-Identifier: Apache-2.0
// The loss of every query of an indexer that imitates a distribution, and its derivative:
//   q = softmax over i of score_scale * scores[t, i],   p[i] = target_scale * targets[t, i]
//   divergences[t] = sum_i p[i] (log p[i] - log q[i])   in nats; p[i] = 0 contributes 0
//   scores[t, i] <- gradient_scale * (q[i] - p[i])
// over the k candidates of a set, or over all candidates of t if k is 0 (none: the divergence is
// 0). Then the columns from there to the end of the next tile of kDistillTile become zero, up to
// `stride`: what reads tiles of queries and keys need not look at candidates.
//
// One block per row, float32; a row's sums depend on nothing else in the launch. Bound by memory:
// 12 bytes per pair, the second and third look at the scores hit the cache.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kDistillTile = 64;  // of queries and of keys, at most

struct DistillRowsParams {
  float* scores;  // [rows, stride]
  std::int64_t stride;
  const float* targets;  // [rows, candidates]
  std::int64_t target_stride;
  const RowPlace* places;  // [rows]
  float* divergences;      // [rows]
  std::int64_t rows;
  int k;  // of a set; 0: all candidates of a row
  float score_scale, target_scale, gradient_scale;
};

cudaError_t distill_rows(const DistillRowsParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
