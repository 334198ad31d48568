// SPDX-License-Identifier: Apache-2.0
// The ring of stages of sparse_attention_sm90.cu: how shared memory is divided, and the threads
// that gather rows of queries and keys into it. Only for that file.
#pragma once

#include "kernels/mbarrier.cuh"
#include "kernels/mma.cuh"
#include "kernels/sparse_attention.h"
#include "kernels/wgmma_attention.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kKeyWidth = 576;
constexpr int kValueWidth = 512;
constexpr int kHeads = 64;                    // of a tile
constexpr int kUnits = kKeyWidth / 64;        // of 64 columns: rows of 128 bytes, swizzled
constexpr int kSteps = kKeyWidth / 16;        // of a product over the key width
constexpr int kHeldSteps = kValueWidth / 16;  // whose queries are in registers
constexpr int kGroupThreads = 128;            // of a warpgroup
constexpr int kThreads = 3 * kGroupThreads;
constexpr int kCopiers = 2 * kGroupThreads;  // the threads that gather
constexpr int kRowCopiers = 8;               // of them share a row
constexpr int kRowsAtOnce = kCopiers / kRowCopiers;
constexpr int kWeightsBytes = kHeads * 32;  // probabilities of 16 keys
constexpr int kScorerBarrier = 1;           // named barrier; 0 is the whole block's
constexpr float kLog2E = 1.4426950408889634f;

constexpr int kKeys = 48;  // of a stage
constexpr int kStages = 4;
// Of a thread of the scoring warpgroup, and of the accumulating ones, which share the rest.
constexpr int kScoreRegisters = 184;
constexpr int kValueRegisters = (504 - kScoreRegisters) / 16 * 8;
constexpr int kUnitBytes = kKeys * 128;
constexpr int kStageBytes = kUnits * kUnitBytes;
constexpr int kQueryRows = 32;  // queries that a stage takes
constexpr int kQueryStages = kHeads / kQueryRows;
constexpr int kLineBytes = kHeads * static_cast<int>(sizeof(float));
// Offsets in shared memory.
constexpr int kRope = kStages * kStageBytes;            // last 64 columns of the queries
constexpr int kShrinks = kRope + kHeads * 128;          // one per head and stage
constexpr int kSums = kShrinks + kStages * kLineBytes;  // one per head, of two tiles
constexpr int kBarriers = kSums + 2 * kLineBytes;
constexpr int kBytes = kBarriers + 3 * 8 * kStages;

static_assert(kKeys % 16 == 0 && kQueryRows <= kKeys);
static_assert(kUnitBytes >= kKeys / 16 * kWeightsBytes);
static_assert(kBytes <= 227 * 1024);

// A place in the ring and the parity of its barriers' phase.
struct RingPlace {
  int stage = 0;
  std::uint32_t parity = 0;

  __device__ void advance() {
    if (++stage < kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

struct Shared {
  std::uint32_t base;

  __device__ std::uint32_t stage(int i) const {
    return base + static_cast<std::uint32_t>(i * kStageBytes);
  }
  // Where the probabilities of a stage are.
  __device__ std::uint32_t weights(int i) const {
    return stage(i) + static_cast<std::uint32_t>((kUnits - 1) * kUnitBytes);
  }
  __device__ std::uint32_t rope() const { return base + kRope; }
  __device__ std::uint32_t shrinks(int i) const {
    return base + static_cast<std::uint32_t>(kShrinks + i * kLineBytes);
  }
  __device__ std::uint32_t sums(std::uint32_t parity) const {
    return base + kSums + parity * kLineBytes;
  }
  // Rows have come; probabilities are ready; nobody needs the stage any more.
  __device__ std::uint32_t full(int i) const { return barrier(i); }
  __device__ std::uint32_t weighed(int i) const { return barrier(kStages + i); }
  __device__ std::uint32_t empty(int i) const { return barrier(2 * kStages + i); }

 private:
  __device__ std::uint32_t barrier(int i) const {
    return base + static_cast<std::uint32_t>(kBarriers + 8 * i);
  }
};

__device__ int group_thread() {
  std::uint32_t x;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(x));
  return static_cast<int>(x) % kGroupThreads;
}

// The tiles of a launch: queries one after the other, groups of heads of a query next to each
// other.
struct Tiles {
  int groups, count;

  __device__ explicit Tiles(const SparseAttentionParams& p)
      : groups((p.heads + kHeads - 1) / kHeads), count(static_cast<int>(p.rows) * groups) {}
  __device__ int row(int tile) const { return tile / groups; }
  __device__ int first_head(int tile) const { return tile % groups * kHeads; }
};

__device__ int selected(const SparseAttentionParams& p, int row) {
  // One lane's answer, so that the compiler sees that the warp agrees.
  return p.sets == nullptr ? __shfl_sync(kAllLanes, p.places[row].candidates, 0) : p.k;
}

// At least one, so that every tile passes every barrier.
__device__ int stages_of(int count) {
  return max(1, (count + kKeys - 1) / kKeys);
}

// Fills the ring, queries and then keys of one tile after the other.
class Gatherer {
 public:
  __device__ Gatherer(const SparseAttentionParams& p, const Tiles& tiles, const Shared& shared)
      : p_(p), tiles_(tiles), shared_(shared), tile_(static_cast<int>(blockIdx.x)) {
    begin_tile();
  }

  // The next stage of the stream, when it is free; nothing after the last one.
  __device__ void fill() {
    if (tile_ >= tiles_.count) return;
    barrier_wait(shared_.empty(at_.stage), at_.parity ^ 1);
    if (next_ < 0) {
      fill_queries();
    } else {
      fill_keys();
    }
    barrier_arrive_after_copies(shared_.full(at_.stage));
    at_.advance();
    if (++next_ == stages_of(count_)) {
      tile_ += static_cast<int>(gridDim.x);
      begin_tile();
    }
    find_rows();
  }

 private:
  static constexpr int kPasses = (kKeys + kRowsAtOnce - 1) / kRowsAtOnce;
  static constexpr bool kHalfPass = kKeys % kRowsAtOnce != 0;  // half of the rows in the last

  __device__ void begin_tile() {
    next_ = -kQueryStages;
    if (tile_ < tiles_.count) count_ = selected(p_, tiles_.row(tile_));
  }

  // Row of the stage that this thread copies in a pass.
  __device__ static int row_of(int pass) {
    const int thread = static_cast<int>(threadIdx.x) - kGroupThreads;
    if (kHalfPass && pass == kPasses - 1) {
      return pass * kRowsAtOnce + thread % kGroupThreads / kRowCopiers;
    }
    return pass * kRowsAtOnce + thread / kRowCopiers;
  }

  // Key rows of the next stage, early enough.
  __device__ void find_rows() {
    if (next_ < 0 || tile_ >= tiles_.count) return;
    const int row = tiles_.row(tile_);
    const std::int32_t* set = p_.sets == nullptr ? nullptr : p_.sets + row * p_.sets_stride;
    const int base = p_.places[row].key_base;
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int i = next_ * kKeys + row_of(pass);
      rows_[pass] = i >= count_ ? -1 : base + (set == nullptr ? i : set[i]);
    }
  }

  // Units [0, Units) of a row from `unit` on; this thread copies one chunk of each.
  template <int Units>
  __device__ void copy_row(int row, const bf16* source, bool present, int unit = 0) const {
    const int chunk = static_cast<int>(threadIdx.x) % kRowCopiers;
    const std::uint32_t to = shared_.stage(at_.stage) + swizzled_chunk(row, chunk) +
                             static_cast<std::uint32_t>(unit * kUnitBytes);
    source += 8 * chunk + 64 * unit;
#pragma unroll
    for (int u = 0; u < Units; ++u) {
      copy_async(to + static_cast<std::uint32_t>(u * kUnitBytes), source + 64 * u, present);
    }
  }

  __device__ void fill_queries() const {
    const bf16* queries =
        static_cast<const bf16*>(p_.queries) + tiles_.row(tile_) * p_.query_stride;
#pragma unroll
    for (int pass = 0; pass < kQueryRows / kRowsAtOnce; ++pass) {
      const int row =
          pass * kRowsAtOnce + (static_cast<int>(threadIdx.x) - kGroupThreads) / kRowCopiers;
      const int head = tiles_.first_head(tile_) + (next_ + kQueryStages) * kQueryRows + row;
      const bool present = head < p_.heads;
      copy_row<kUnits>(row, queries + (present ? head : 0) * p_.query_head_stride, present);
    }
  }

  __device__ void fill_keys() const {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const bool present = rows_[pass] >= 0;
      const bf16* source =
          static_cast<const bf16*>(p_.keys) + (present ? rows_[pass] : 0) * p_.key_stride;
      if (kHalfPass && pass == kPasses - 1) {  // the two warpgroups take units of the same rows
        constexpr int kFirstUnits = (kUnits + 1) / 2;
        if (threadIdx.x < 2 * kGroupThreads) {
          copy_row<kFirstUnits>(row_of(pass), source, present);
        } else {
          copy_row<kUnits - kFirstUnits>(row_of(pass), source, present, kFirstUnits);
        }
      } else {
        copy_row<kUnits>(row_of(pass), source, present);
      }
    }
  }

  const SparseAttentionParams& p_;
  const Tiles& tiles_;
  const Shared& shared_;
  RingPlace at_;
  int tile_, next_, count_ = 0;  // next_: stage of the tile, negative ones hold queries
  int rows_[kPasses] = {};       // -1: none
};

}  // namespace
}  // namespace indexcache::kernels
