// SPDX-License-Identifier: Apache-2.0
// Intersections of index sets: counts[bucket(t), i, j] += |sets_i[t] ∩ sets_j[t]| for every pair of
// layers i <= j. Integers, so the order of additions does not matter.
//
// A block takes a few queries. The sets of one query become bitmaps in shared memory, one window of
// positions at a time if the context is longer than fits; a warp takes 4 x 4 layers at a time, so
// that 8 words give 16 counts.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kMostOverlapLayers = 128;

struct OverlapParams {
  const std::int32_t* const* sets;  // [layers] device pointers to [rows, k], no repetitions in a
                                    // row; at most a row's position
  std::int64_t sets_stride;
  const RowPlace* places;           // [rows]: only positions are used
  const std::int64_t* bucket_ends;  // [buckets], ascending, the last above every position
  unsigned long long* counts;       // [buckets, layers, layers], upper triangle
  std::int64_t rows;
  int layers;  // at most kMostOverlapLayers
  int k;
  int buckets;
  int longest;  // highest position + 1
};

cudaError_t overlap(const OverlapParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
