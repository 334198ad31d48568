// SPDX-License-Identifier: Apache-2.0
// Neighboring queries that share a tile of sparse attention. Their keys are the union of their
// sets, in ascending order, and a query has weights of exactly 0 on those that are not its own. A
// product with few heads then has the heads of several queries, and a key that they share is
// gathered once. What a tile adds up together depends on the neighbors' sets, so that packs must
// not depend on the launch: they begin anew at every kPackGrain-th row of a segment, where launches
// may begin, and nothing but the sets decides whether a pack is one.
//
// Limit: a pack reads the sets of its queries once, 4 k bytes each, and writes 5 bytes per key of
// the union: 1% of what attention over them takes.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kPackGrain = 256;
inline constexpr int kMostPackQueries = 8;

struct Pack {
  std::int64_t begin;  // of its keys and members
  int keys;
  int first_row;
  int queries;
  int key_base;  // row of candidate 0
};

// How many there are of each.
struct PackCounts {
  unsigned long long keys;
  int packs;
  int rest;
};

// What pack_sets() makes, in memory of the caller. The order of packs and of the other rows is that
// of the blocks that finished; no result depends on it.
struct PackedSets {
  int queries = 0;               // at most, of a pack; 0: nothing is packed
  int keys_per_query = 0;        // n queries whose union has more than n times as many are no pack
  std::int32_t* keys = nullptr;  // [rows * (keys_per_query + 3)] candidates
  // The same; bit i: in the set of query first_row + i. 0 from the last key of a pack up to the
  // next multiple of four.
  std::uint8_t* members = nullptr;
  Pack* packs = nullptr;         // [rows]
  std::int32_t* rest = nullptr;  // [rows] those in no pack
  PackCounts* counts = nullptr;  // [1]
};

struct PackSetsParams {
  const std::int32_t* sets;  // [rows, k], no repetitions in a row
  std::int64_t sets_stride;
  int k;
  const KeySegment* segments;  // [segment_count]
  int segment_count;
  int most_rows;  // of a segment
  int positions;  // above every candidate
};

cudaError_t pack_sets(const PackSetsParams& params, const PackedSets& packed, cudaStream_t stream);

}  // namespace indexcache::kernels
