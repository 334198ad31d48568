// SPDX-License-Identifier: Apache-2.0
// What the kernels for attention over gathered keys on Hopper share: tiles, and the warpgroup that
// copies queries and gathers keys. A tile is a query and a group of its heads, or a pack of queries
// with all of theirs; its keys come in blocks. Rows lie in shared memory as units of 64 columns:
// lines of 128 bytes, swizzled.
//
// S in what follows has kKeys (of a block), kHeads (of a tile), kLeastBlocks (so that every tile
// passes every barrier) and kFirstCopier (the first thread of the last warpgroup, which copies).
#pragma once

#include "kernels/attention_keys.cuh"
#include "kernels/attention_sinks.cuh"
#include "kernels/exponential.cuh"
#include "kernels/mbarrier.cuh"
#include "kernels/mma.cuh"
#include "kernels/sparse_attention.h"
#include "kernels/wgmma_attention.cuh"

namespace indexcache::kernels {

inline constexpr int kKeyWidth = 576;  // of absorbed MLA
inline constexpr int kValueWidth = 512;
inline constexpr int kUnits = kKeyWidth / 64;
inline constexpr int kScoreSteps = kKeyWidth / 16;  // of a product over the key width
inline constexpr int kGroupThreads = 128;           // of a warpgroup
inline constexpr int kGroupWarps = kGroupThreads / kWarp;
inline constexpr int kRowCopiers = 8;  // threads that share a row
inline constexpr int kRowsAtOnce = kGroupThreads / kRowCopiers;

__device__ inline unsigned load_shared_short(std::uint32_t from) {  // two bytes
  std::uint16_t x;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(x) : "r"(from) : "memory");
  return x;
}

__device__ inline int group_thread() {
  std::uint32_t x;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(x));
  return static_cast<int>(x) % kGroupThreads;
}

// What the keys of a tile are: candidates of a query, after those of a window, or the union of a
// pack.
enum class KeysOf { query, window_and_query, pack };

struct Tile {
  int row;         // of the first of its queries
  int first_head;  // of the tile
  int heads;       // that there are, in a pack of all of its queries, one query after the other
};

// The tiles of a launch: queries one after the other, groups of heads of a query next to each
// other. Of packed sets, only packs, or only the rest of the queries.
template <int Heads, KeysOf keys_of = KeysOf::query>
class Tiles {
 public:
  static constexpr bool kWindowed = keys_of == KeysOf::window_and_query;
  static constexpr bool kPacks = keys_of == KeysOf::pack;

  __device__ explicit Tiles(const SparseAttentionParams& p)
      : p_(p),
        rest_(!kPacks && p.packed.queries > 0),
        groups_(kPacks ? 1 : (p.heads + Heads - 1) / Heads),
        count_((kPacks  ? p.packed.counts->packs
                : rest_ ? p.packed.counts->rest
                        : static_cast<int>(p.rows)) *
               groups_) {}

  __device__ int count() const { return count_; }

  __device__ Tile at(int tile) const {
    if (kPacks) {
      const Pack& pack = p_.packed.packs[tile];
      return {pack.first_row, 0, pack.queries * p_.heads};
    }
    const int query = tile / groups_;
    return {rest_ ? p_.packed.rest[query] : query, tile % groups_ * Heads, p_.heads};
  }

  // How many keys it has.
  __device__ int keys(int tile) const {
    if (kPacks) return agreed(p_.packed.packs[tile].keys);
    const int row = at(tile).row;
    if (kWindowed) return agreed(KeyList(p_, row).count);
    return p_.sets == nullptr ? agreed(p_.places[row].candidates) : p_.k;
  }

  // Row of candidate 0.
  __device__ int key_base(int tile, int row) const {
    return kPacks ? p_.packed.packs[tile].key_base : p_.places[row].key_base;
  }
  // Its candidates, or null: all of them.
  __device__ const std::int32_t* candidates(int tile, int row) const {
    if (kPacks) return p_.packed.keys + p_.packed.packs[tile].begin;
    return p_.sets == nullptr ? nullptr : p_.sets + row * p_.sets_stride;
  }

 private:
  const SparseAttentionParams& p_;
  bool rest_;
  int groups_, count_;
};

template <class S>
__device__ int key_blocks(int count) {
  return max(S::kLeastBlocks, (count + S::kKeys - 1) / S::kKeys);
}

// A copying thread copies one row of a block in each pass.
template <class S>
inline constexpr int kCopyPasses = S::kKeys / kRowsAtOnce;
template <class S>
__device__ int copied_row(int pass) {
  return pass * kRowsAtOnce + (static_cast<int>(threadIdx.x) - S::kFirstCopier) / kRowCopiers;
}

// Which rows a copying thread copies, block after block of keys, tile after tile. Numbers of rows
// are read kAhead blocks before they are needed, because they come all the way from memory: waiting
// for them took half of the time that gathering takes.
template <class S, class TileList>
class RowsAhead {
 public:
  static constexpr bool kWindowed = TileList::kWindowed;
  static constexpr int kAhead = 3;
  static constexpr int kPasses = kCopyPasses<S>;

  __device__ RowsAhead(const SparseAttentionParams& p, const TileList& tiles)
      : p_(p), tiles_(tiles) {
    begin_tile(now_, static_cast<int>(blockIdx.x));
    ahead_ = now_;
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      read(i);
      advance(ahead_);
    }
  }

  // Calls body(tile, block, rows): rows(pass, present) is the address of a row of the keys.
  template <typename Body>
  __device__ __forceinline__ void for_blocks(const Body& body) {
    while (now_.tile < tiles_.count()) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (now_.tile >= tiles_.count()) break;
        body(now_.tile, now_.block,
             [&](int pass, bool& present) { return address(rows_[i][pass], bases_[i], present); });
        advance(now_);
        read(i);
        advance(ahead_);
      }
    }
  }

 private:
  struct Place {
    int tile, block, blocks, keys;
    int row;                   // of the tile
    int recent, first_recent;  // of the keys, with a window
  };

  // Rows that are not there have the address of another one.
  __device__ const bf16* address(int row, int base, bool& present) const {
    if (kWindowed) {
      present = row != kNoKey;
      return key_row<bf16>(p_, row >= 0 ? base + row : present ? row : recent_key(0));
    }
    present = row >= 0;
    return static_cast<const bf16*>(p_.keys) +
           std::int64_t{present ? base + row : 0} * p_.key_stride;
  }

  __device__ void begin_tile(Place& at, int tile) const {
    at.tile = tile;
    at.block = 0;
    if (tile >= tiles_.count()) return;
    at.row = tiles_.at(tile).row;
    at.keys = tiles_.keys(tile);
    if (kWindowed) {
      const RecentKeys recent(p_, at.row);
      at.recent = recent.count;
      at.first_recent = recent.first_row;
    }
    at.blocks = key_blocks<S>(at.keys);
  }
  __device__ void advance(Place& at) const {
    if (at.tile >= tiles_.count() || ++at.block < at.blocks) return;
    begin_tile(at, at.tile + static_cast<int>(gridDim.x));
  }

  __device__ __forceinline__ void read(int to) {
    if (ahead_.tile >= tiles_.count()) return;
    bases_[to] = tiles_.key_base(ahead_.tile, ahead_.row);
    const std::int32_t* candidates = tiles_.candidates(ahead_.tile, ahead_.row);
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      int i = ahead_.block * S::kKeys + copied_row<S>(pass);
      rows_[to][pass] = kNoKey;
      if (i >= ahead_.keys) continue;
      if (kWindowed) {
        if (i < ahead_.recent) {
          rows_[to][pass] = recent_key(ahead_.first_recent + i);
          continue;
        }
        i -= ahead_.recent;
      }
      rows_[to][pass] = candidates == nullptr ? i : candidates[i];
    }
  }

  const SparseAttentionParams& p_;
  const TileList& tiles_;
  Place now_, ahead_;
  int bases_[kAhead];  // first key row of a block's sequence
  // Of this thread's keys: candidates, kNoKey, or keys of the window.
  int rows_[kAhead][kPasses];
};

// Some units of one row; this thread copies one chunk of each.
template <int Units, int UnitBytes>
__device__ __forceinline__ void copy_row(std::uint32_t to, int row, const bf16* source,
                                         bool present) {
  const int chunk = static_cast<int>(threadIdx.x) % kRowCopiers;
  to += swizzled_chunk(row, chunk);
  source += 8 * chunk;
#pragma unroll
  for (int u = 0; u < Units; ++u) {
    copy_async(to + static_cast<std::uint32_t>(u * UnitBytes), source + 64 * u, present);
  }
}

// The first Units units of a tile's queries; heads that do not exist are zero.
template <class S, int Units, int UnitBytes, class TileList>
__device__ void copy_queries(const SparseAttentionParams& p, const TileList& tiles, int number,
                             std::uint32_t to) {
  const Tile tile = tiles.at(number);
  const bf16* queries = static_cast<const bf16*>(p.queries) + tile.row * p.query_stride;
#pragma unroll 1
  for (int row = copied_row<S>(0); row < S::kHeads; row += kRowsAtOnce) {
    const int head = tile.first_head + row;
    const bool present = head < tile.heads;
    copy_row<Units, UnitBytes>(to, row, queries + (present ? head : 0) * p.query_head_stride,
                               present);
  }
}

}  // namespace indexcache::kernels
