// SPDX-License-Identifier: Apache-2.0
// What the warps of a block of grouped_gemm_sm90.cuh share: a ring of stages, each with 128 bytes
// of depth of the rows of x and of the weight, and the tile that was announced last.
#pragma once

#include "kernels/grouped_columns.cuh"
#include "kernels/grouped_tiles.cuh"
#include "kernels/mbarrier.cuh"

namespace indexcache::kernels::grouped {

constexpr int kGroupThreads = 128;                     // of a warpgroup
constexpr int kMultipliers = kTileSlots / kPartSlots;  // warpgroups; one more copies
constexpr int kThreads = (kMultipliers + 1) * kGroupThreads;

template <typename T>
struct Shape {
  static constexpr bool kScaled = sizeof(T) == 1;
  static constexpr int kDepth = kBoxRowBytes / static_cast<int>(sizeof(T));  // of a stage
  static constexpr int kCols = kScaled ? 128 : 256;
  static constexpr int kStages = kScaled ? 5 : 4;
  static constexpr int kWeightBoxes = kCols / kColumnBox;
  static constexpr int kXBytes = kTileSlots * kBoxRowBytes;
  static constexpr int kWeightBytes = kCols * kBoxRowBytes;
  static constexpr int kStageBytes = kXBytes + kWeightBytes;
  // Threads that multiply the scales of a stage, and their factors.
  static constexpr int kScaleThreads = kScaled ? 2 * kWarp : 0;
  static constexpr int kFactorBytes = kScaled ? kTileSlots * 4 : 0;
  // Threads of a warpgroup that let a stage go: all of them if they read its factors (Shared).
  static constexpr int kReleasesOfGroup = kScaled ? kGroupThreads : kGroupThreads / kWarp;
  // Of a thread; the launch takes 128 each. bf16 has twice the columns.
  static constexpr int kMultiplierRegisters = kScaled ? 152 : 160;
  static constexpr int kCopierRegisters = kScaled ? 56 : 32;
  // Offsets in shared memory.
  static constexpr int kFactors = kStages * kStageBytes;
  static constexpr int kTile = kFactors + kStages * kFactorBytes;
  static constexpr int kBarriers = kTile + static_cast<int>(sizeof(Tile));
  static constexpr int kBytes = kBarriers + 2 * 8 * (kStages + 1) + 1024;  // aligned
};

// A block's shared memory. All threads that read what ordinary instructions wrote there arrive at
// its barriers, and all that wrote it, as racecheck cannot know that one does for its warp.
template <class S>
struct Shared {
  std::uint32_t base;

  __device__ std::uint32_t x(int stage) const {
    return base + static_cast<std::uint32_t>(stage * S::kStageBytes);
  }
  __device__ std::uint32_t weight(int stage) const { return x(stage) + S::kXBytes; }
  // e4m3: what a product of each slot is multiplied by, [stage][slot] float32.
  __device__ std::uint32_t factors(int stage) const {
    return base + static_cast<std::uint32_t>(S::kFactors + stage * S::kFactorBytes);
  }
  // The announced tile, and its barriers.
  __device__ std::uint32_t tile() const { return base + static_cast<std::uint32_t>(S::kTile); }
  __device__ std::uint32_t announced() const { return full(2 * S::kStages); }
  __device__ std::uint32_t taken() const { return full(2 * S::kStages + 1); }
  __device__ std::uint32_t full(int stage) const {
    return base + static_cast<std::uint32_t>(S::kBarriers + 8 * stage);
  }
  __device__ std::uint32_t empty(int stage) const { return full(S::kStages + stage); }

  __device__ void init() const {
    if (threadIdx.x == 0) {
      for (int stage = 0; stage < S::kStages; ++stage) {
        barrier_make(full(stage), 1 + S::kScaleThreads);
        barrier_make(empty(stage), kMultipliers * S::kReleasesOfGroup);
      }
      barrier_make(announced(), 1);
      barrier_make(taken(), kMultipliers * kGroupThreads + 1 + S::kScaleThreads);
      barriers_made();
    }
  }
};

template <class S>
__device__ int stages_of(const GroupedGemmParams& p) {
  return (p.depth + S::kDepth - 1) / S::kDepth;
}

__device__ inline void write_tile(std::uint32_t to, const Tile& tile) {
  asm volatile("st.shared.v4.s32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(tile.group),
               "r"(tile.first_slot), "r"(tile.slots), "r"(tile.column_tile)
               : "memory");
  asm volatile("st.shared.u64 [%0], %1;" ::"r"(to + 16), "l"(tile.scales) : "memory");
  asm volatile("st.shared.s32 [%0], %1;" ::"r"(to + 24), "r"(tile.first_row) : "memory");
}

__device__ inline Tile read_tile(std::uint32_t from) {
  Tile tile;
  asm volatile("ld.shared.v4.s32 {%0, %1, %2, %3}, [%4];"
               : "=r"(tile.group), "=r"(tile.first_slot), "=r"(tile.slots), "=r"(tile.column_tile)
               : "r"(from)
               : "memory");
  asm volatile("ld.shared.u64 %0, [%1];" : "=l"(tile.scales) : "r"(from + 16) : "memory");
  asm volatile("ld.shared.s32 %0, [%1];" : "=r"(tile.first_row) : "r"(from + 24) : "memory");
  return tile;
}

// Waits for the next tile; the caller then arrives at taken().
template <class S>
__device__ Tile announced_tile(const Shared<S>& shared, unsigned& parity) {
  barrier_wait(shared.announced(), parity);
  parity ^= 1;
  return read_tile(shared.tile());
}

}  // namespace indexcache::kernels::grouped
