// SPDX-License-Identifier: Apache-2.0
// Intersections of index sets: counts[bucket(t), i, j] += |sets_i[t] ∩ sets_j[t]| for every pair of
// layers i <= j. Integers, so the order of additions does not matter.
//
// A block takes one query after another. The sets of a query become bitmaps in shared memory, one
// window of positions at a time, and tensor cores multiply them: a product of 16 x 8 layers and 256
// positions counts the common bits of 128 pairs. Sums stay in registers until the bucket changes.
// Windows that no set reaches are left out.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kMostOverlapLayers = 128;

struct OverlapParams {
  const std::int32_t* const* sets;  // [layers] device pointers to [rows, k], ascending, then -1s;
                                    // at most a row's position
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
