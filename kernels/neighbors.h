// SPDX-License-Identifier: Apache-2.0
// What the sets of queries near each other have in common, in one layer. Row i of a segment adds to
// counts[bucket(position of i)]:
//   [d]              |A ∩ B| of its set and that of row i - distances[d], if i >= distances[d]
//   [distances + g]  the size of the union of the last groups[g] rows up to i, if groups[g] divides
//                    i + 1
// Integers, so the order of additions does not matter.
//
// A block takes a few consecutive queries. The set of a query becomes a bitmap in shared memory,
// one window of positions at a time if the context is longer than fits; sets at a distance are
// looked up in it, and those of a group are added to it, each new bit counting once.
//
// Limit: for distances 1, 16, 128 and groups of 2, 4, 8, a query reads 5.5 sets on average (its
// own, three, and those of 1.5 other queries for the groups), most of them from L2: 45 KB for
// k = 2048, 9 ns per query and layer at 5 TB/s. Its 11,000 accesses to shared memory take about 5
// ns on 132 multiprocessors if three lanes of a warp meet in a bank.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kMostNeighborColumns = 16;

struct NeighborParams {
  const std::int32_t* sets;  // [rows, k], no repetitions in a row; at most a row's position
  std::int64_t sets_stride;
  const RowPlace* places;               // [rows]: only positions are used
  const KeySegment* segments;           // [segment_count]: only the rows of each
  const std::int64_t* bucket_ends;      // [buckets], ascending, the last above every position
  unsigned long long* counts;           // [buckets, distance_count + group_count]
  int distances[kMostNeighborColumns];  // [distance_count], each at least 1
  int groups[kMostNeighborColumns];     // [group_count], each at least 1
  int distance_count;
  int group_count;  // distance_count + group_count is at most kMostNeighborColumns
  int segment_count;
  int most_rows;  // of a segment
  int k;
  int longest;  // highest position + 1
};

cudaError_t neighbors(const NeighborParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
