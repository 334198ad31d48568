// SPDX-License-Identifier: Apache-2.0
// Products of groups with the warpgroup tensor cores of Hopper, for kernels that differ in what
// they do with the results.
//
// One block per multiprocessor takes tile after tile of all groups: up to 192 slots by 256 columns
// (bf16) or 128 (e4m3). One thread takes a tile and announces it; another one fills a ring of
// stages, 128 bytes of depth of every row of x and of the weight, with the tensor memory
// accelerator, by a map for each group. (With cp.async for x, which could follow the rows of an
// expert, issuing the copies took 6% of bf16 products and 14% of e4m3.) Three warpgroups multiply
// up to 64 slots each, and do nothing for a tile without any of theirs. bf16 keeps one stage's
// products under way while the next is awaited. In e4m3 the products of a stage are awaited, scaled
// and added to the sums in float32, while the other warpgroups have the tensor cores.
//
// A block takes the next tile shortly before it needs it, so that tiles which share columns of a
// weight are under way at nearly the same time, and only the first one reads the weight from
// memory. Taken a tile earlier, experts in bf16 read 30 GB instead of 23 and took 4% longer; with a
// fixed share of the tiles for each block, they took 1.6 times as long.
//
// Bounds, per stage and whole part of 64 slots, in cycles: products 512 (bf16) and 256 (e4m3);
// shared memory, of which operands are read and copies written at 128 bytes per cycle, 533 (x is
// read twice, as a product has half of the columns) and 299. Both types run at the latter until the
// power cap lowers the clock.
#pragma once

#include "kernels/architecture.h"
#include "kernels/grouped_tiles.cuh"
#include "kernels/mbarrier.cuh"
#include "kernels/mma.cuh"
#include "kernels/tensor_map.cuh"
#include "kernels/wgmma.cuh"
#include "kernels/wgmma_columns.cuh"

namespace indexcache::kernels::grouped {

constexpr int kGroupThreads = 128;                     // of a warpgroup
constexpr int kMultipliers = kTileSlots / kPartSlots;  // warpgroups; one more copies
constexpr int kThreads = (kMultipliers + 1) * kGroupThreads;
constexpr int kWeightBoxRows = 128;
constexpr int kFindAhead = 12;  // the next tile is taken so many copies before this one's last
constexpr int kFewSlots = 48;   // of a part, in bf16
// Of a thread; the launch takes 128 each.
constexpr int kMultiplierRegisters = 160;
constexpr int kCopierRegisters = 32;

template <typename T>
struct Shape {
  static constexpr bool kScaled = sizeof(T) == 1;
  static constexpr int kDepth = kBoxRowBytes / static_cast<int>(sizeof(T));  // of a stage
  static constexpr int kCols = kScaled ? 128 : 256;
  static constexpr int kStages = kScaled ? 5 : 4;
  static constexpr int kWeightBoxes = kCols / kWeightBoxRows;
  static constexpr int kXBytes = kTileSlots * kBoxRowBytes;
  static constexpr int kWeightBytes = kCols * kBoxRowBytes;
  static constexpr int kStageBytes = kXBytes + kWeightBytes;
  // Offsets in shared memory.
  static constexpr int kTile = kStages * kStageBytes;
  static constexpr int kBarriers = kTile + static_cast<int>(sizeof(Tile));
  static constexpr int kBytes = kBarriers + 2 * 8 * (kStages + 1) + 1024;  // aligned
};

template <class S>
struct Shared {
  std::uint32_t base;

  __device__ std::uint32_t x(int stage) const {
    return base + static_cast<std::uint32_t>(stage * S::kStageBytes);
  }
  __device__ std::uint32_t weight(int stage) const { return x(stage) + S::kXBytes; }
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
        barrier_make(full(stage), 1);
        barrier_make(empty(stage), kMultipliers * kGroupThreads / kWarp);
      }
      barrier_make(announced(), 1);
      // Every thread that reads the tile arrives, as racecheck cannot know that one does for all.
      barrier_make(taken(), kMultipliers * kGroupThreads + 1);
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

// Waits for the next tile; the caller then arrives at taken().
template <class S>
__device__ Tile announced_tile(const Shared<S>& shared, unsigned& parity) {
  barrier_wait(shared.announced(), parity);
  parity ^= 1;
  return read_tile(shared.tile());
}

// The thread that copies what the multiplying warpgroups need. Rows beyond the last slot of a group
// are zero: products of them take less power than products of another group's rows.
template <class S>
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
    const void* const weight = p_.weights[tile.group].map;
    acquire_tensor_map(x);
    acquire_tensor_map(weight);
    // Half of a gated tile's columns are rows of `gate`, and half the same ones of `up`.
    const int column = tile.column_tile * (p_.gated ? S::kCols / 2 : S::kCols);
    const int columns_apart = p_.gated ? p_.cols / 2 : kWeightBoxRows;
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
        copy_box(box_at(shared_.weight(turn_.stage), box * kWeightBoxRows), weight, depth,
                 column + box * columns_apart, full);
      }
      for (int box = 0; box < boxes; ++box) {
        const int row = box * kPartSlots;
        copy_box(box_at(shared_.x(turn_.stage), row), x, depth, tile.first_row + row, full);
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
  const int asks_at_ = max(0, stages_ - kFindAhead);  // for the next tile
  Turn<S::kStages> turn_;
};

// What a multiplying thread needs of its place: slots `row` and `row + 8` of the tile.
struct ThreadPlace {
  int lane = static_cast<int>(threadIdx.x) % kWarp;
  int row = static_cast<int>(threadIdx.x) / kWarp * 16 + lane / 4;  // of all warpgroups
};

// Reads what no one writes during the launch, here and not where it is used first.
__device__ inline float read_now(const float* from) {
  float value;
  asm volatile("ld.global.f32 %0, [%1];" : "=f"(value) : "l"(from) : "memory");
  return value;
}

// A warpgroup that multiplies its part of a tile, and then calls
//   epilogue(tile, d)
// with the accumulator d: 8 columns of two slots per 4 registers (ThreadPlace). In bf16 a part of
// at most kFewSlots slots does not have to cost as much as 64: if Epilogue::kTakesFew, it is
// multiplied with the weight's columns on the left and 16, 32 or 48 slots on the right. Then it
// calls
//   epilogue.few<Slots>(tile, first_slot, d)
// with an accumulator of Slots / 2 registers for each 64 columns, as wgmma.cuh describes it: its
// rows are columns of the result, and its columns are slots of the tile from `first_slot` on.
template <typename T, class Epilogue>
class Multiplier {
 public:
  using S = Shape<T>;

  // `group` is the warpgroup. The compiler must know that it is the same in all lanes (agreed()).
  __device__ Multiplier(const GroupedGemmParams& p, const Shared<S>& shared,
                        const Epilogue& epilogue, int group)
      : p_(p),
        shared_(shared),
        epilogue_(epilogue),
        stages_(stages_of<S>(p)),
        first_slot_(group * kPartSlots),
        x_(swizzled_operand(
            shared.x(0) + static_cast<std::uint32_t>(group * kPartSlots * kBoxRowBytes), 16,
            8 * kBoxRowBytes)),
        weight_(swizzled_operand(shared.weight(0), 16, 8 * kBoxRowBytes)),
        releases_(threadIdx.x % kWarp == 0) {}

  __device__ __forceinline__ void run() {
    if constexpr (S::kScaled) {
      multiply_scaled();
    } else {
      multiply();
    }
  }

 private:
  static constexpr int kRegisters = S::kCols / 2;  // of an accumulator

  __device__ Tile next_tile() {
    const Tile tile = announced_tile(shared_, tile_parity_);
    barrier_arrive(shared_.taken());
    turn_ = agreed(turn_);
    return tile;
  }

  // Begins the products of the next stage: d (+)= x weight^T, or weight x^T if slots are few.
  template <int Slots, int Registers>
  __device__ __forceinline__ void begin(float (&d)[Registers], bool add) {
    barrier_wait(shared_.full(turn_.stage), turn_.parity);
    const std::uint64_t x = moved(x_, turn_.stage * S::kStageBytes);
    const std::uint64_t weight = moved(weight_, turn_.stage * S::kStageBytes);
    wgmma_begin();
#pragma unroll
    for (int step = 0; step < kBoxRowBytes / 32; ++step) {
      multiply_step<Slots>(d, moved(x, step * 32), moved(weight, step * 32), add || step > 0);
    }
    wgmma_commit();
  }

  template <int Slots, int Registers>
  __device__ __forceinline__ static void multiply_step(float (&d)[Registers], std::uint64_t x,
                                                       std::uint64_t weight, bool add) {
    if constexpr (S::kScaled) {
      wgmma_e4m3(d, x, weight, add);
    } else if constexpr (Slots == kPartSlots) {
      // Halves: one product of 256 columns needs more registers than a thread has at the launch.
      constexpr int kHalf = Registers / 2;
      wgmma_bf16(reinterpret_cast<float(&)[kHalf]>(d[0]), x, weight, add);
      wgmma_bf16(reinterpret_cast<float(&)[kHalf]>(d[kHalf]), x, moved(weight, 128 * kBoxRowBytes),
                 add);
    } else {
      constexpr int kOwn = Slots / 2;
#pragma unroll
      for (int i = 0; i < Registers / kOwn; ++i) {
        wgmma_bf16(reinterpret_cast<float(&)[kOwn]>(d[i * kOwn]),
                   moved(weight, i * 64 * kBoxRowBytes), x, add);
      }
    }
  }

  // Lets the copying thread have a stage.
  __device__ void release(int stage) {
    __syncwarp();
    if (releases_) barrier_arrive(shared_.empty(stage));
  }

  // A tile without any of this warpgroup's slots.
  __device__ __forceinline__ void pass() {
    for (int stage = 0; stage < stages_; ++stage) {
      barrier_wait(shared_.full(turn_.stage), turn_.parity);
      release(turn_.stage);
      turn_.advance(1);
    }
  }

  __device__ __forceinline__ void multiply() {
    for (;;) {
      const Tile tile = next_tile();
      if (tile.group < 0) return;
      const int slots = tile.slots - first_slot_;
      if (slots <= 0) {
        pass();
      } else if (!Epilogue::kTakesFew || slots > kFewSlots) {
        multiply<kPartSlots>(tile);
      } else if (slots > 32) {
        multiply<kFewSlots>(tile);
      } else if (slots > 16) {
        multiply<32>(tile);
      } else {
        multiply<16>(tile);
      }
    }
  }

  template <int Slots>
  __device__ __forceinline__ void multiply(const Tile& tile) {
    float d[S::kCols * Slots / kGroupThreads];
    begin<Slots>(d, false);
    for (int stage = 1; stage < stages_; ++stage) {
      const int previous = turn_.stage;
      turn_.advance(1);
      begin<Slots>(d, true);
      wgmma_wait<1>();
      release(previous);
    }
    wgmma_wait(d);
    release(turn_.stage);
    turn_.advance(1);
    if constexpr (Slots == kPartSlots) {
      epilogue_(tile, d);
    } else if constexpr (Epilogue::kTakesFew) {
      epilogue_.template few<Slots>(tile, first_slot_, d);
    }
  }

  // Scales of a stage: of the thread's two rows, and of the weight.
  using Scales = float[3];
  struct ScaleRows {
    const float *low, *high, *weight;

    __device__ void read(int stage, Scales& to) const {
      to[0] = read_now(low + stage), to[1] = read_now(high + stage);
      to[2] = read_now(weight + stage);
    }
  };
  __device__ ScaleRows find_scales(const Tile& tile) const {
    static_assert(!S::kScaled || S::kCols == 128);  // which have a scale together
    const ThreadPlace place;
    const int last = tile.slots - 1;  // rows that are not there are not stored
    const auto of_row = [&](int slot) {
      return p_.x_scales + (std::int64_t{tile.first_slot} + min(slot, last)) * stages_;
    };
    return {of_row(place.row), of_row(place.row + 8), tile.scales};
  }

  // Waits for the products of a stage and adds them.
  __device__ __forceinline__ void add_scaled(Scales& scales, float (&d)[kRegisters],
                                             float (&sums)[kRegisters]) {
    hold(scales);  // else the compiler waits for them right after the reads
    const float factors[2] = {scales[0] * scales[2], scales[1] * scales[2]};
    wgmma_wait(d);
    release(turn_.stage);
    turn_.advance(1);
#pragma unroll
    for (int i = 0; i < kRegisters; ++i) sums[i] = fmaf(factors[i / 2 % 2], d[i], sums[i]);
  }

  // Scales are read a stage ahead, and results are stored while the products of the next tile's
  // first stage run.
  __device__ __forceinline__ void multiply_scaled() {
    Tile done{-1, 0, 0, 0, nullptr, 0};
    float sums[kRegisters];
    for (;;) {
      const Tile tile = next_tile();
      if (tile.group < 0) break;
      if (tile.slots <= first_slot_) {
        pass();
        continue;
      }
      const ScaleRows rows = find_scales(tile);
      Scales scales, next;
      float d[kRegisters];
      rows.read(0, scales);
      begin<kPartSlots>(d, false);
      if (done.group >= 0) epilogue_(done, sums);
      done = tile;
#pragma unroll
      for (int i = 0; i < kRegisters; ++i) sums[i] = 0;
#pragma unroll 4
      for (int stage = 1; stage < stages_; ++stage) {
        rows.read(stage, next);
        add_scaled(scales, d, sums);
        begin<kPartSlots>(d, false);
#pragma unroll
        for (int i = 0; i < 3; ++i) scales[i] = next[i];
      }
      add_scaled(scales, d, sums);
    }
    if (done.group >= 0) epilogue_(done, sums);
  }

  const GroupedGemmParams& p_;
  const Shared<S>& shared_;
  const Epilogue& epilogue_;
  const int stages_;
  const int first_slot_;            // of this warpgroup's part of a tile
  const std::uint64_t x_, weight_;  // the first stage's
  const bool releases_;             // stages, for its warp
  Turn<S::kStages> turn_;           // the next stage to multiply
  unsigned tile_parity_ = 0;
};

template <typename T, class Epilogue>
__global__ void __launch_bounds__(kThreads, 1)
    grouped_gemm_kernel(const __grid_constant__ GroupedGemmParams p,
                        const __grid_constant__ Epilogue epilogue) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using S = Shape<T>;
  extern __shared__ char dynamic[];
  const Shared<S> shared{(shared_address(dynamic) + 1023u) & ~1023u};
  shared.init();
  __syncthreads();
  const int group = agreed(static_cast<int>(threadIdx.x) / kGroupThreads);
  if (group == kMultipliers) {
    leave_registers<kCopierRegisters>();
    if (threadIdx.x == kMultipliers * kGroupThreads) Copier<S>(p, shared).run();
    if (threadIdx.x == kMultipliers * kGroupThreads + kWarp) Finder<S>(p, shared).run();
  } else {
    take_registers<kMultiplierRegisters>();
    Multiplier<T, Epilogue>(p, shared, epilogue, group).run();
  }
#endif
}

template <typename T, class Epilogue>
cudaError_t launch(const GroupedGemmParams& p, const Epilogue& epilogue, cudaStream_t stream) {
  using S = Shape<T>;
  static_assert(S::kBytes <= 227 * 1024);
  const auto kernel = grouped_gemm_kernel<T, Epilogue>;
  cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kBytes);
  if (status != cudaSuccess) return status;
  TensorMap x;
  status = make_tensor_map(p.x, p.type, p.slots, p.depth, p.x_stride, kPartSlots, &x);
  if (status != cudaSuccess) return status;
  find_groups_kernel<<<1, kWarp, 0, stream>>>(p, x);
  const auto blocks = static_cast<unsigned>(multiprocessors());
  kernel<<<blocks, kThreads, S::kBytes, stream>>>(p, epilogue);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels::grouped
