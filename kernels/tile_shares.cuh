// SPDX-License-Identifier: Apache-2.0
// An even division of tiles of keys over the blocks of a launch, for kernels with a block per
// multiprocessor. Every block finds its share by itself and walks over it as often as it likes.
#pragma once

#include "kernels/common.cuh"

namespace indexcache::kernels {

// Where the share of a block begins, and how much it is.
struct TileShare {
  int item;    // segment * groups of queries + group
  int offset;  // in the cost of the item
  long long cost;
};

// A group is `Queries` consecutive rows of a segment; it needs the tiles of `Keys` keys up to the
// last candidate of its last row. A piece is what a block has of a group: consecutive tiles.
template <int Queries, int Keys>
struct TileWork {
  static constexpr int kPieceCost = 1;  // of beginning a piece, in tiles

  const KeySegment* segments;
  int segment_count;
  int most_rows;  // of any segment

  __device__ static int last_row(const KeySegment& segment, int first_query) {
    return min(segment.rows, first_query + Queries) - 1;
  }

  __device__ static int cost(const KeySegment& segment, int group) {
    const int keys = segment.candidates(last_row(segment, group * Queries));
    return (keys + Keys - 1) / Keys + kPieceCost;
  }

  __device__ int groups() const { return static_cast<int>(ceil_div(most_rows, Queries)); }

  // Calls body(item, segment, group) for the groups among the items [begin, end) until it returns
  // false.
  template <typename Body>
  __device__ void for_groups(int begin, int end, const Body& body) const {
    const int per_segment = groups();
    for (int item = begin; item < end;) {
      const KeySegment segment = segments[item / per_segment];
      const int group = item % per_segment;
      if (group * Queries >= segment.rows) {
        item = (item / per_segment + 1) * per_segment;
        continue;
      }
      if (!body(item, segment, group)) return;
      ++item;
    }
  }

  // The share of this block; `share` and `warp_sums` are shared memory. All threads call it, and
  // synchronize before they read the share.
  __device__ void find_share(TileShare* share, long long (&warp_sums)[kWarp]) const {
    const int items = groups() * segment_count;
    const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    const int each = static_cast<int>(ceil_div(items, threads));
    const int begin = min(thread * each, items), end = min(begin + each, items);
    long long own = 0;
    for_groups(begin, end, [&](int, const KeySegment& segment, int group) {
      own += cost(segment, group);
      return true;
    });
    long long before = own;  // inclusive, then exclusive
    for (int offset = 1; offset < kWarp; offset *= 2) {
      const long long other = __shfl_up_sync(kAllLanes, before, offset);
      if (thread % kWarp >= offset) before += other;
    }
    if (thread % kWarp == kWarp - 1) warp_sums[thread / kWarp] = before;
    if (thread == 0) *share = {0, 0, 0};
    __syncthreads();
    before -= own;
    long long total = 0;
    for (int warp = 0; warp < threads / kWarp; ++warp) {
      if (warp == thread / kWarp) before += total;
      total += warp_sums[warp];
    }
    const long long from = total * blockIdx.x / gridDim.x;
    const long long to = total * (blockIdx.x + 1) / gridDim.x;
    if (from < before || from >= before + own) return;
    for_groups(begin, end, [&](int item, const KeySegment& segment, int group) {
      const int of_group = cost(segment, group);
      if (from >= before + of_group) {
        before += of_group;
        return true;
      }
      *share = {item, static_cast<int>(from - before), to - from};
      return false;
    });
  }

  // Calls body(segment, first query, first tile, tiles) for the pieces of a share.
  template <typename Body>
  __device__ void for_pieces(const TileShare& share, const Body& body) const {
    long long left = share.cost;
    int offset = share.offset;
    if (left == 0) return;
    for_groups(share.item, groups() * segment_count,
               [&](int, const KeySegment& segment, int group) {
                 const int rest = cost(segment, group) - offset;
                 const int used = static_cast<int>(min(left, static_cast<long long>(rest)));
                 const int first = max(offset - kPieceCost, 0);
                 const int end = max(offset + used - kPieceCost, 0);
                 if (end > first) body(segment, group * Queries, first, end - first);
                 left -= used;
                 offset = 0;
                 return left > 0;
               });
  }
};

}  // namespace indexcache::kernels
