// SPDX-License-Identifier: Apache-2.0
// How sparse_attention_sm90.cu divides shared memory. Only for that file.
#pragma once

#include "kernels/attention_rows.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kTileHeads = kSm90TileHeads;
constexpr int kGroups = 2;  // warpgroups that multiply
constexpr int kSlots = 3;   // of a block of keys
constexpr int kParts = 3;   // of a slot: values of either warpgroup, the other columns
constexpr int kRest = 2;    // the last of them
constexpr int kPartUnits = 4;
constexpr int kLooseSteps = kValueWidth / 16;  // of a score, whose queries are in shared memory
constexpr int kQueryUnitBytes = kTileHeads * 128;
constexpr int kWeightsBytes = kTileHeads * 32;  // probabilities of 16 keys
constexpr int kLineBytes = kTileHeads * static_cast<int>(sizeof(float));
constexpr int kMathRegisters = 224;
constexpr int kCopyRegisters = 56;
constexpr int kMathThreads = kGroups * kGroupThreads;

struct Shape {
  static constexpr int kKeys = 48;
  static constexpr int kHeads = kTileHeads;
  static constexpr int kLeastBlocks = 2;  // one for each warpgroup, maybe without keys
  static constexpr int kFirstCopier = kMathThreads;
  static constexpr int kThreads = kFirstCopier + kGroupThreads;
  static constexpr int kUnitBytes = kKeys * 128;
  static constexpr int kSlotBytes = kUnits * kUnitBytes;
  // Offsets in shared memory.
  static constexpr int kQueries = 0;
  static constexpr int kRing = kQueries + (kUnits - 1) * kQueryUnitBytes;
  static constexpr int kPeaks = kRing + kSlots * kSlotBytes;      // [warpgroup]
  static constexpr int kMembers = kPeaks + kGroups * kLineBytes;  // [slot][key]
  static constexpr int kBarriers = kMembers + kSlots * kKeys;
  static constexpr int kBytes = kBarriers + 8 * (3 + kSlots * (2 * kParts + 1));

  static_assert(kBytes <= 227 * 1024);
};
using S = Shape;

// What the keys decide. Those of a window and entries are values, and no wider.
template <KeysOf keys_of>
struct Keys {
  static constexpr int kWidth = keys_of == KeysOf::window_and_query ? kValueWidth : kKeyWidth;
  // Of a score, the last steps, whose queries are in registers.
  static constexpr int kHeldSteps = kWidth / 16 - kLooseSteps;
  // Units of the other columns; without any, their place is only that of the probabilities.
  static constexpr int kRestUnits = kWidth / 64 - 2 * kPartUnits;
};

// Addresses of shared memory. Barriers: rows have come; the probabilities have taken the place of
// the last unit; nobody needs a part any more.
struct Shared {
  std::uint32_t base;

  __device__ std::uint32_t at(int offset) const {
    return base + static_cast<std::uint32_t>(offset);
  }
  __device__ std::uint32_t queries(int unit) const {
    return at(S::kQueries + unit * kQueryUnitBytes);
  }
  __device__ std::uint32_t keys(int slot, int unit) const {
    return at(S::kRing + slot * S::kSlotBytes + unit * S::kUnitBytes);
  }
  // Probabilities of a block over its last unit, [16 keys][heads][keys].
  __device__ std::uint32_t weights(int slot) const { return keys(slot, kUnits - 1); }
  // Maxima of the heads after a block that this warpgroup scored, and its sums in the end.
  __device__ std::uint32_t peaks(int group) const { return at(S::kPeaks + group * kLineBytes); }

  // Which queries of a pack have a key in their sets, a byte for each key.
  __device__ std::uint32_t members(int slot) const { return at(S::kMembers + slot * S::kKeys); }

  __device__ std::uint32_t full(int slot, int part) const { return barrier(slot * kParts + part); }
  __device__ std::uint32_t empty(int slot, int part) const {
    return barrier((kSlots + slot) * kParts + part);
  }
  __device__ std::uint32_t weighed(int slot) const { return barrier(2 * kSlots * kParts + slot); }
  __device__ std::uint32_t queries_full() const { return barrier((2 * kParts + 1) * kSlots); }
  __device__ std::uint32_t queries_empty() const { return barrier((2 * kParts + 1) * kSlots + 1); }
  __device__ std::uint32_t met() const { return barrier((2 * kParts + 1) * kSlots + 2); }

  __device__ void init() const {
    if (threadIdx.x == 0) {
      for (int slot = 0; slot < kSlots; ++slot) {
        for (int part = 0; part < kParts; ++part) {
          barrier_make(full(slot, part), kGroupThreads);
          barrier_make(empty(slot, part), part == kRest ? kGroupThreads : kGroupWarps);
        }
        barrier_make(weighed(slot), kGroupThreads);
      }
      barrier_make(queries_full(), kGroupThreads);
      barrier_make(queries_empty(), kGroups * kGroupWarps);
      barrier_make(met(), kMathThreads);
      barriers_made();
    }
    __syncthreads();
  }

 private:
  __device__ std::uint32_t barrier(int i) const { return at(S::kBarriers + 8 * i); }
};

// The i-th part of a block to come and to be scored, by the warpgroup that scores the block. In
// this order parts become free: the slot's last block belonged to the other warpgroup.
__device__ constexpr int part_order(int group, int i) {
  return i == kRest ? kRest : group == 0 ? 1 - i : i;
}

}  // namespace
}  // namespace indexcache::kernels
