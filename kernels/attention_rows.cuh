// SPDX-License-Identifier: Apache-2.0
// What the kernels for attention over gathered keys on Hopper share: tiles, and the warpgroup that
// copies queries and gathers keys. A tile is a query and a group of its heads; its keys come in
// blocks. Rows lie in shared memory as units of 64 columns: lines of 128 bytes, swizzled.
//
// S in what follows has kKeys (of a block), kHeads (of a tile), kLeastBlocks (so that every tile
// passes every barrier) and kFirstCopier (the first thread of the last warpgroup, which copies).
#pragma once

#include "kernels/attention_keys.cuh"
#include "kernels/attention_sinks.cuh"
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
inline constexpr float kLog2E = 1.4426950408889634f;

__device__ inline void store_shared(std::uint32_t to, float x) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(to), "f"(x) : "memory");
}
__device__ inline float load_shared(std::uint32_t from) {
  float x;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(x) : "r"(from) : "memory");
  return x;
}

__device__ inline float exponential(float x) {  // of 2
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ inline int group_thread() {
  std::uint32_t x;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(x));
  return static_cast<int>(x) % kGroupThreads;
}

// The tiles of a launch: queries one after the other, groups of heads of a query next to each
// other.
template <int Heads>
struct Tiles {
  int groups, count;

  __device__ explicit Tiles(const SparseAttentionParams& p)
      : groups((p.heads + Heads - 1) / Heads), count(static_cast<int>(p.rows) * groups) {}
  __device__ int row(int tile) const { return tile / groups; }
  __device__ int first_head(int tile) const { return tile % groups * Heads; }
};

// How many keys a query has; only with Windowed may those of a window be among them.
template <bool Windowed = false>
__device__ int selected(const SparseAttentionParams& p, int row) {
  // One lane's answer, so that the compiler sees that the warp agrees.
  if (Windowed) return __shfl_sync(kAllLanes, KeyList(p, row).count, 0);
  return p.sets == nullptr ? __shfl_sync(kAllLanes, p.places[row].candidates, 0) : p.k;
}

template <class S>
__device__ int key_blocks(int count) {
  return max(S::kLeastBlocks, (count + S::kKeys - 1) / S::kKeys);
}

// Which rows a copying thread copies, block after block of keys, tile after tile. Numbers of rows
// are read kAhead blocks before they are needed, because they come all the way from memory: waiting
// for them took half of the time that gathering takes.
template <class S, bool Windowed = false>
class RowsAhead {
 public:
  static constexpr int kAhead = 3;
  static constexpr int kPasses = S::kKeys / kRowsAtOnce;

  __device__ RowsAhead(const SparseAttentionParams& p, const Tiles<S::kHeads>& tiles)
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
    while (now_.tile < tiles_.count) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (now_.tile >= tiles_.count) break;
        body(now_.tile, now_.block,
             [&](int pass, bool& present) { return address(rows_[i][pass], bases_[i], present); });
        advance(now_);
        read(i);
        advance(ahead_);
      }
    }
  }

  // Row of a block that this thread copies in a pass.
  __device__ static int row_of(int pass) {
    return pass * kRowsAtOnce + (static_cast<int>(threadIdx.x) - S::kFirstCopier) / kRowCopiers;
  }

 private:
  struct Place {
    int tile, block, blocks, keys;
    int recent, first_recent;  // of the keys, with Windowed
  };

  // Rows that are not there have the address of another one.
  __device__ const bf16* address(int row, int base, bool& present) const {
    if (Windowed) {
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
    if (tile >= tiles_.count) return;
    at.keys = selected<Windowed>(p_, tiles_.row(tile));
    if (Windowed) {
      const RecentKeys recent(p_, tiles_.row(tile));
      at.recent = recent.count;
      at.first_recent = recent.first_row;
    }
    at.blocks = key_blocks<S>(at.keys);
  }
  __device__ void advance(Place& at) const {
    if (at.tile >= tiles_.count || ++at.block < at.blocks) return;
    begin_tile(at, at.tile + static_cast<int>(gridDim.x));
  }

  __device__ __forceinline__ void read(int to) {
    if (ahead_.tile >= tiles_.count) return;
    const int row = tiles_.row(ahead_.tile);
    bases_[to] = p_.places[row].key_base;
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      int i = ahead_.block * S::kKeys + row_of(pass);
      rows_[to][pass] = kNoKey;
      if (i >= ahead_.keys) continue;
      if (Windowed) {
        if (i < ahead_.recent) {
          rows_[to][pass] = recent_key(ahead_.first_recent + i);
          continue;
        }
        i -= ahead_.recent;
      }
      rows_[to][pass] = p_.sets == nullptr ? i : p_.sets[row * p_.sets_stride + i];
    }
  }

  const SparseAttentionParams& p_;
  const Tiles<S::kHeads>& tiles_;
  Place now_, ahead_;
  int bases_[kAhead];  // first key row of a block's sequence
  // Of this thread's keys: candidates, kNoKey, or with Windowed keys of the window.
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
template <class S, int Units, int UnitBytes>
__device__ void copy_queries(const SparseAttentionParams& p, const Tiles<S::kHeads>& tiles,
                             int tile, std::uint32_t to) {
  const bf16* queries = static_cast<const bf16*>(p.queries) + tiles.row(tile) * p.query_stride;
#pragma unroll 1
  for (int row = RowsAhead<S>::row_of(0); row < S::kHeads; row += kRowsAtOnce) {
    const int head = tiles.first_head(tile) + row;
    const bool present = head < p.heads;
    copy_row<Units, UnitBytes>(to, row, queries + (present ? head : 0) * p.query_head_stride,
                               present);
  }
}

}  // namespace indexcache::kernels
