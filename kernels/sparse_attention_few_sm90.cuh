// SPDX-License-Identifier: Apache-2.0
// How sparse_attention_few_sm90.cu divides shared memory. Only for that file.
#pragma once

#include "kernels/attention_rows.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kScorers = 2;
constexpr int kValueGroups = 2;
constexpr int kGroups = kScorers + kValueGroups;
constexpr int kValueRegisters = 112;  // of a thread; a scoring one has 96, as launched
constexpr int kCopyRegisters = 64;
constexpr int kBlockKeys = 64;
constexpr int kParts = 3;   // slots of a block
constexpr int kBlocks = 4;  // whose scores are known at a time, at most
constexpr int kLineBytes = kFewHeads * static_cast<int>(sizeof(float));

template <int Heads>
struct Shape {
  static constexpr int kKeys = kBlockKeys;
  static constexpr int kHeads = Heads;
  static constexpr int kLeastBlocks = kScorers;  // one for each scorer, maybe without keys
  static constexpr int kFirstCopier = kGroups * kGroupThreads;
  static constexpr int kThreads = kFirstCopier + kGroupThreads;
  static constexpr int kSlots = Heads <= 24 ? 8 : 7;
  static constexpr int kSlotUnits = kUnits / kParts;
  static constexpr int kUnitBytes = kBlockKeys * 128;
  static constexpr int kSlotBytes = kSlotUnits * kUnitBytes;
  static constexpr int kQueryUnitBytes = Heads * 128;
  static constexpr int kTerms = Heads / 4;  // of a thread: heads 8 i + 2 (lane % 4) + {0, 1}

  // Offsets in shared memory. Lines have a float for each head.
  static constexpr int kQueries = kSlots * kSlotBytes;
  static constexpr int kShrinks = kQueries + kUnits * kQueryUnitBytes;  // [block % kBlocks]
  static constexpr int kTops = kShrinks + kBlocks * kLineBytes;         // [scorer][turn % 2][warp]
  static constexpr int kPeaks = kTops + kScorers * 2 * kGroupWarps * kLineBytes;  // [scorer]
  static constexpr int kLastPeaks = kPeaks + kScorers * kLineBytes;     // [tile % 2][scorer]
  static constexpr int kSums = kLastPeaks + 2 * kScorers * kLineBytes;  // [tile % 2][scorer][warp]
  static constexpr int kBarriers = kSums + 2 * kScorers * kGroupWarps * kLineBytes;
  static constexpr int kBytes = kBarriers + 8 * (2 * kSlots + kBlocks + 2);

  static_assert(Heads % 8 == 0 && Heads <= kFewHeads && kBytes <= 227 * 1024);
  static_assert(kSlotBytes % 1024 == 0 && kBlocks * kParts > kSlots);
};

// Addresses of shared memory. Barriers: rows have come; nobody needs a slot any more; probabilities
// of a block have taken the place of its last unit.
template <class S>
struct Shared {
  std::uint32_t base;

  __device__ std::uint32_t at(int offset) const {
    return base + static_cast<std::uint32_t>(offset);
  }
  __device__ std::uint32_t slot(int i) const { return at(i * S::kSlotBytes); }
  __device__ std::uint32_t weights(int last_slot) const {
    return at(last_slot * S::kSlotBytes + (S::kSlotUnits - 1) * S::kUnitBytes);
  }
  __device__ std::uint32_t queries(int unit) const {
    return at(S::kQueries + unit * S::kQueryUnitBytes);
  }
  // By how much sums shrink before a block is added.
  __device__ std::uint32_t shrinks(int block) const { return line(S::kShrinks, block); }
  // Of a scorer's four warps, for two of its blocks.
  __device__ std::uint32_t tops(int scorer, int turn, int warp) const {
    return line(S::kTops, (scorer * 2 + turn % 2) * kGroupWarps + warp);
  }
  // Maxima after the last block that a scorer weighed.
  __device__ std::uint32_t peaks(int scorer) const { return line(S::kPeaks, scorer); }
  // The same after its last block of a tile, and its sums up to there.
  __device__ std::uint32_t last_peaks(int tile_parity, int scorer) const {
    return line(S::kLastPeaks, tile_parity * kScorers + scorer);
  }
  __device__ std::uint32_t sums(int tile_parity, int scorer, int warp) const {
    return line(S::kSums, (tile_parity * kScorers + scorer) * kGroupWarps + warp);
  }

  __device__ std::uint32_t full(int slot) const { return barrier(slot); }
  __device__ std::uint32_t empty(int slot) const { return barrier(S::kSlots + slot); }
  __device__ std::uint32_t weighed(int block) const { return barrier(2 * S::kSlots + block); }
  __device__ std::uint32_t queries_full() const { return weighed(kBlocks); }
  __device__ std::uint32_t queries_empty() const { return weighed(kBlocks + 1); }

  __device__ void init() const {
    if (threadIdx.x == 0) {
      for (int i = 0; i < S::kSlots; ++i) {
        barrier_make(full(i), kGroupThreads);
        barrier_make(empty(i), kValueGroups * kGroupThreads);
      }
      for (int i = 0; i < kBlocks; ++i) barrier_make(weighed(i), kGroupThreads);
      barrier_make(queries_full(), kGroupThreads);
      barrier_make(queries_empty(), kScorers * kGroupWarps);
      barriers_made();
    }
    __syncthreads();
  }

 private:
  __device__ std::uint32_t barrier(int i) const { return at(S::kBarriers + 8 * i); }
  __device__ std::uint32_t line(int offset, int i) const { return at(offset + i * kLineBytes); }
};

}  // namespace
}  // namespace indexcache::kernels
