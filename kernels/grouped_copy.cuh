// SPDX-License-Identifier: Apache-2.0
// The warps of grouped_gemm_sm90.cuh that do not multiply: they find tiles, copy operands, and
// multiply scales, all of it ahead of the products.
#pragma once

#include "kernels/grouped_stages.cuh"
#include "kernels/mma.cuh"
#include "kernels/tensor_map.cuh"

namespace indexcache::kernels::grouped {

constexpr int kFindAhead = 12;  // the next tile is taken so many copies before this one's last

// The thread that takes tiles and announces them to the others. It has time for the ten or so
// dependent reads that finding one takes.
template <class S>
class Finder {
 public:
  __device__ Finder(const GroupedGemmParams& p, const Shared<S>& shared) : p_(p), shared_(shared) {}

  __device__ __forceinline__ void run() {
    const Groups groups = groups_of(p_);
    const int column_tiles = (p_.cols + S::kCols - 1) / S::kCols;
    const int tiles = groups.first_tile[p_.groups] * column_tiles;
    for (unsigned parity = 1;; parity ^= 1) {
      barrier_wait(shared_.taken(), parity);
      const int i = atomicAdd(groups.taken, 1);
      Tile tile{-1, 0, 0, 0, nullptr, 0};
      if (i < tiles) tile = find(groups, column_tiles, i);
      write_tile(shared_.tile(), tile);
      barrier_arrive(shared_.announced());
      if (i >= tiles) return;
    }
  }

 private:
  __device__ Tile find(const Groups& groups, int column_tiles, int i) const {
    Tile tile = find_tile(p_, groups, column_tiles, i);
    if constexpr (S::kScaled) {
      const std::int64_t first = std::int64_t{tile.column_tile} * stages_of<S>(p_);
      tile.scales = p_.weights[tile.group].scales + first;
    }
    return tile;
  }

  const GroupedGemmParams& p_;
  const Shared<S>& shared_;
};

// The thread that copies what the multiplying warpgroups need. Rows beyond the last slot of a group
// are zero: products of them take less power than products of another group's rows.
template <class S, bool kOrdered>
class Copier {
 public:
  __device__ Copier(const GroupedGemmParams& p, const Shared<S>& shared)
      : p_(p), shared_(shared), stages_(stages_of<S>(p)) {}

  __device__ __forceinline__ void run() {
    for (unsigned parity = 0;;) {
      const Tile tile = announced_tile(shared_, parity);
      if (tile.group < 0) return;
      copy_tile(tile);
    }
  }

 private:
  __device__ __forceinline__ void copy_tile(const Tile& tile) {
    const TensorMap* const x = &groups_.x[tile.group];
    const TensorMap* const weight = &groups_.weight[tile.group];
    acquire_tensor_map(x);
    acquire_tensor_map(weight);
    // Half of a gated tile's columns are rows of `gate`, and half the same ones of `up`.
    const int column = tile.column_tile * (p_.gated ? S::kCols / 2 : S::kCols);
    const int columns_apart = p_.gated ? p_.cols / 2 : kColumnBox;
    // Of kPartSlots rows. The warpgroup whose box is not copied passes over the tile.
    const int boxes = (tile.slots + kPartSlots - 1) / kPartSlots;
    const auto bytes = static_cast<unsigned>(S::kWeightBytes + boxes * kPartSlots * kBoxRowBytes);
    for (int stage = 0; stage < stages_; ++stage) {
      const std::uint32_t full = shared_.full(turn_.stage);
      const int depth = stage * S::kDepth;
      if (stage == asks_at_) barrier_arrive(shared_.taken());
      barrier_wait(shared_.empty(turn_.stage), turn_.parity ^ 1);
      barrier_arrive_expecting(full, bytes);
#pragma unroll
      for (int box = 0; box < S::kWeightBoxes; ++box) {
        copy_columns<kOrdered>(box_at(shared_.weight(turn_.stage), box * kColumnBox), weight, depth,
                               column + box * columns_apart, whole_boxes_, full);
      }
      for (int box = 0; box < boxes; ++box) {
        const int row = box * kPartSlots;
        copy_box(box_at(shared_.x(turn_.stage), row), x, full, depth, tile.first_row + row);
      }
      turn_.advance(1);
    }
  }

  __device__ static std::uint32_t box_at(std::uint32_t base, int row) {
    return base + static_cast<std::uint32_t>(row * kBoxRowBytes);
  }

  const GroupedGemmParams& p_;
  const Shared<S>& shared_;
  const Groups groups_ = groups_of(p_);
  const int stages_;
  const bool whole_boxes_ = copies_whole_boxes(p_);
  const int asks_at_ = max(0, stages_ - kFindAhead);  // for the next tile
  Turn<S::kStages> turn_;
};

// Two warps that multiply the scales of x by those of the weight, which gives a factor for each
// slot and stage. They read four stages of a slot at a time. If every warp that multiplies reads
// the scales of its slots, which are on as many lines, those reads take turns with the ones of
// operands in shared memory: dense products took 5 to 9% longer.
template <class S>
class Scaler {
 public:
  __device__ Scaler(const GroupedGemmParams& p, const Shared<S>& shared)
      : p_(p), shared_(shared), stages_(stages_of<S>(p)) {}

  __device__ __forceinline__ void run() {
    for (unsigned parity = 0;;) {
      const Tile tile = announced_tile(shared_, parity);
      barrier_arrive(shared_.taken());
      if (tile.group < 0) return;
      write_factors(tile);
    }
  }

 private:
  static constexpr int kRows = kTileSlots / S::kScaleThreads;  // of a thread, so many apart
  static constexpr int kAtOnce = 4;

  __device__ __forceinline__ void write_factors(const Tile& tile) {
    const float* rows[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      // Slots that are not there are not stored, so that theirs may be any.
      const int slot = min(thread_ + i * S::kScaleThreads, tile.slots - 1);
      rows[i] = p_.x_scales + (std::int64_t{tile.first_slot} + slot) * stages_;
    }
    for (int first = 0; first < stages_; first += kAtOnce) {
      float scales[kRows][kAtOnce];
#pragma unroll
      for (int i = 0; i < kRows; ++i) read(scales[i], rows[i] + first, stages_ - first);
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (first + i >= stages_) break;
        const float weight = tile.scales[first + i];
        barrier_wait(shared_.empty(turn_.stage), turn_.parity ^ 1);
        const std::uint32_t to = shared_.factors(turn_.stage) + own_;
#pragma unroll
        for (int row = 0; row < kRows; ++row) {
          store_shared(to + static_cast<std::uint32_t>(row * S::kScaleThreads * 4),
                       scales[row][i] * weight);
        }
        barrier_arrive(shared_.full(turn_.stage));
        turn_.advance(1);
      }
    }
  }

  // Scales of the next stages, of which there are `left`.
  __device__ __forceinline__ void read(float (&to)[kAtOnce], const float* from, int left) const {
    if (whole_) {
      const float4 four = *reinterpret_cast<const float4*>(from);
      to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
    } else {
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) to[i] = i < left ? from[i] : 0.0f;
    }
  }

  const GroupedGemmParams& p_;
  const Shared<S>& shared_;
  const int stages_;
  const bool whole_ =
      stages_ % kAtOnce == 0 && reinterpret_cast<std::uintptr_t>(p_.x_scales) % sizeof(float4) == 0;
  const int thread_ = static_cast<int>(threadIdx.x) % S::kScaleThreads;
  const std::uint32_t own_ = static_cast<std::uint32_t>(thread_ * 4);
  Turn<S::kStages> turn_;
};

}  // namespace indexcache::kernels::grouped
