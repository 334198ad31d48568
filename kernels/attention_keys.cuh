// SPDX-License-Identifier: Apache-2.0
// The keys of one query as one list: those of its window, then its candidates or those of its set.
// A key is one number: a row of `keys`, kNoKey, or below that a row of `recent`.
#pragma once

#include "kernels/common.cuh"
#include "kernels/sparse_attention.h"

namespace indexcache::kernels {

inline constexpr int kNoKey = -1;

__device__ inline int recent_key(int row) {
  return kNoKey - 1 - row;
}

// How many keys of its window a query has, and the row of the first.
struct RecentKeys {
  int count = 0, first_row = 0;

  RecentKeys() = default;
  __device__ RecentKeys(const SparseAttentionParams& p, std::int64_t row) {
    if (p.recent == nullptr) return;
    const RowPlace place = p.recent_places[row];
    count = min(place.candidates, p.window);
    first_row = place.key_base + place.candidates - count;
  }
};

struct KeyList {
  RecentKeys recent;
  int base;                 // row of candidate 0
  const std::int32_t* set;  // or null: all candidates
  int count;                // of all keys

  __device__ KeyList(const SparseAttentionParams& p, std::int64_t row)
      : recent(p, row),
        base(p.places[row].key_base),
        set(p.sets == nullptr ? nullptr : p.sets + row * p.sets_stride),
        count(recent.count) {
    if (p.keys != nullptr) count += set == nullptr ? p.places[row].candidates : p.k;
  }

  // Of a pack.
  __device__ KeyList(const PackedSets& packed, const Pack& pack)
      : recent{}, base(pack.key_base), set(packed.keys + pack.begin), count(pack.keys) {}

  // Key i of the list; kNoKey from its end on.
  __device__ int key(int i) const {
    if (i >= count) return kNoKey;
    if (i < recent.count) return recent_key(recent.first_row + i);
    const int candidate = i - recent.count;
    return base + (set == nullptr ? candidate : set[candidate]);
  }
};

// Where a key lies.
template <typename T>
__device__ __forceinline__ const T* key_row(const SparseAttentionParams& p, int key) {
  if (key >= 0) return static_cast<const T*>(p.keys) + std::int64_t{key} * p.key_stride;
  return static_cast<const T*>(p.recent) + std::int64_t{kNoKey - 1 - key} * p.recent_stride;
}

}  // namespace indexcache::kernels
