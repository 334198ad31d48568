// SPDX-License-Identifier: Apache-2.0
// Products of groups with the warpgroup tensor cores of Hopper, for kernels that differ in what
// they do with the results.
//
// One block of three warpgroups per multiprocessor takes tile after tile of all groups: 128 slots
// by 256 columns (bf16) or 192 (e4m3). One thread fills a ring of stages, 128 bytes of depth of
// every row of x and of the weight, with the tensor memory accelerator. (With cp.async for x, which
// could follow the rows of an expert, issuing the copies took 6% of bf16 products and 14% of e4m3.)
// Two warpgroups multiply 64 slots each. bf16 keeps one stage's products under way while the next
// is awaited; a warpgroup does nothing for a tile without any of its slots, which saves power (in
// e4m3, code for that makes the loop slower than it gains). In e4m3 the products of a stage are
// awaited, scaled and added to the sums in float32, while the other warpgroup has the tensor cores.
//
// A block takes the next tile when it is done with one. Tiles that share columns of a weight follow
// each other, so that they are under way at nearly the same time and only the first one reads the
// weight from memory: with a fixed share of the tiles for each block, blocks drifted apart, and
// experts in bf16 took 1.6 times as long when some tiles were shorter. Tiles of a group come in
// bands of kBand tiles of slots, all columns of a band one after the other, so that what the blocks
// read at a time fits in the L2.
//
// Bounds, per stage of a tile: products 1,024 (bf16) and 768 cycles (e4m3), shared memory 640 each,
// L2 48 and 40 KiB, which at 40 bytes per cycle takes 1,230 and 1,020 cycles; both are limited by
// power before.
#pragma once

#include "kernels/architecture.h"
#include "kernels/grouped_gemm.h"
#include "kernels/mbarrier.cuh"
#include "kernels/mma.cuh"
#include "kernels/wgmma.cuh"
#include "kernels/wgmma_widths.cuh"

#include <cuda.h>

namespace indexcache::kernels::grouped {

constexpr int kGroupThreads = 128;  // of a warpgroup
constexpr int kMultipliers = 2;     // warpgroups
constexpr int kThreads = (kMultipliers + 1) * kGroupThreads;
constexpr int kOwnSlots = 64;  // of a multiplying warpgroup
constexpr int kSlots = kMultipliers * kOwnSlots;
constexpr int kSpan = 128;      // bytes of depth of a stage
constexpr int kBand = 16;       // tiles of slots
constexpr int kTilesAhead = 2;  // that are announced to the multiplying warpgroups
// Of a thread; the launch takes 168 each.
constexpr int kMultiplierRegisters = 232;
constexpr int kCopierRegisters = 40;

template <typename T>
struct Shape {
  static constexpr bool kScaled = sizeof(T) == 1;
  static constexpr int kDepth = kSpan / static_cast<int>(sizeof(T));  // of a stage
  static constexpr int kCols = kScaled ? 192 : 256;
  static constexpr int kStages = kScaled ? 5 : 4;
  static constexpr int kXBytes = kSlots * kSpan;
  static constexpr int kWeightBytes = kCols * kSpan;
  static constexpr int kStageBytes = kXBytes + kWeightBytes;
  // Offsets in shared memory.
  static constexpr int kTiles = kStages * kStageBytes;
  static constexpr int kBarriers = kTiles + 16 * kTilesAhead;
  static constexpr int kBytes = kBarriers + 2 * 8 * (kStages + kTilesAhead) + 1024;  // aligned
};

// Where the groups begin, in tiles of slots and in slots.
struct Groups {
  int first_tile[kMostGroups + 1];
  int first_slot[kMostGroups + 1];
};

struct alignas(16) Tile {
  int group;              // negative: there are no more tiles
  int first_slot, slots;  // of all groups
  int column_tile;
};

// Prefix sums by the first warp; the block synchronizes afterwards.
__device__ inline void find_groups(const GroupedGemmParams& p, Groups& groups) {
  const int lane = static_cast<int>(threadIdx.x);
  if (lane >= kWarp) return;
  int tiles = 0, slots = 0;
  for (int first = 0; first < p.groups; first += kWarp) {
    const int group = first + lane;
    int count = 0;
    if (group < p.groups) count = p.counts == nullptr ? static_cast<int>(p.slots) : p.counts[group];
    const int own = (count + kSlots - 1) / kSlots;
    int tiles_through = own, slots_through = count;
    for (int offset = 1; offset < kWarp; offset *= 2) {
      const int a = __shfl_up_sync(kAllLanes, tiles_through, offset);
      const int b = __shfl_up_sync(kAllLanes, slots_through, offset);
      if (lane >= offset) tiles_through += a, slots_through += b;
    }
    if (group < p.groups) {
      groups.first_tile[group] = tiles + tiles_through - own;
      groups.first_slot[group] = slots + slots_through - count;
    }
    tiles += __shfl_sync(kAllLanes, tiles_through, kWarp - 1);
    slots += __shfl_sync(kAllLanes, slots_through, kWarp - 1);
  }
  if (lane == 0) {
    groups.first_tile[p.groups] = tiles;
    groups.first_slot[p.groups] = slots;
  }
}

// The i-th tile of the launch.
__device__ inline Tile find_tile(const GroupedGemmParams& p, const Groups& groups, int column_tiles,
                                 int i) {
  int low = 0, high = p.groups - 1;  // the last group that begins at or before the tile
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (groups.first_tile[middle] * column_tiles <= i) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const int slot_tiles = groups.first_tile[low + 1] - groups.first_tile[low];
  const int within = i - groups.first_tile[low] * column_tiles;
  const int band = within / (kBand * column_tiles);
  const int height = min(kBand, slot_tiles - band * kBand);
  const int rest = within - band * kBand * column_tiles;
  const int first = (band * kBand + rest % height) * kSlots;
  const int first_slot = groups.first_slot[low] + first;
  return {low, first_slot, min(kSlots, groups.first_slot[low + 1] - first_slot), rest / height};
}

template <class S>
struct Shared {
  std::uint32_t base;

  __device__ std::uint32_t x(int stage) const {
    return base + static_cast<std::uint32_t>(stage * S::kStageBytes);
  }
  __device__ std::uint32_t weight(int stage) const { return x(stage) + S::kXBytes; }
  // An announced tile, and its barriers.
  __device__ std::uint32_t tile(int i) const {
    return base + static_cast<std::uint32_t>(S::kTiles + 16 * i);
  }
  __device__ std::uint32_t announced(int i) const { return full(2 * S::kStages + i); }
  __device__ std::uint32_t taken(int i) const { return announced(kTilesAhead + i); }
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
      for (int i = 0; i < kTilesAhead; ++i) {
        barrier_make(announced(i), 1);
        // Every thread that reads a tile arrives, as racecheck cannot know that one does for all.
        barrier_make(taken(i), kMultipliers * kGroupThreads);
      }
      barriers_made();
    }
  }
};

template <class S>
__device__ int stages_of(const GroupedGemmParams& p) {
  return (p.depth + S::kDepth - 1) / S::kDepth;
}

// A matrix of bf16 or e4m3, as the tensor memory accelerator reads it.
using Map = CUtensorMap;

// The host wrote the map; the accelerator reads it through a proxy of its own.
__device__ inline void acquire_map(const void* map) {
  asm volatile("fence.proxy.tensormap::generic.acquire.sys [%0], 128;" ::"l"(map) : "memory");
}

// Begins the copy of a box of rows from `row` on, 128 bytes from column `depth` on; what is beyond
// the matrix is zero.
__device__ inline void copy_box(std::uint32_t to, const void* map, int depth, int row,
                                std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
      "l"(map), "r"(depth), "r"(row), "r"(barrier)
      : "memory");
}

__device__ inline void write_tile(std::uint32_t to, const Tile& tile) {
  asm volatile("st.shared.v4.s32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(tile.group),
               "r"(tile.first_slot), "r"(tile.slots), "r"(tile.column_tile)
               : "memory");
}

__device__ inline Tile read_tile(std::uint32_t from) {
  Tile tile;
  asm volatile("ld.shared.v4.s32 {%0, %1, %2, %3}, [%4];"
               : "=r"(tile.group), "=r"(tile.first_slot), "=r"(tile.slots), "=r"(tile.column_tile)
               : "r"(from)
               : "memory");
  return tile;
}

// The thread that takes tiles and copies what the multiplying warpgroups need of them. Rows of x
// beyond the last slot of a tile are those of other groups; what is made of them is not stored.
template <class S>
class Copier {
 public:
  __device__ Copier(const GroupedGemmParams& p, const Map& x, const Shared<S>& shared)
      : p_(p), x_(x), shared_(shared), stages_(stages_of<S>(p)) {}

  __device__ __forceinline__ void run(const Groups& groups) {
    const int column_tiles = (p_.cols + S::kCols - 1) / S::kCols;
    const int tiles = groups.first_tile[p_.groups] * column_tiles;
    for (int i = static_cast<int>(blockIdx.x); i < tiles;) {
      const int taken = atomicAdd(p_.tiles_taken, 1);  // arrives while this tile is copied
      const Tile tile = find_tile(p_, groups, column_tiles, i);
      announce(tile);
      copy_tile(tile);
      i = static_cast<int>(gridDim.x) + taken;
    }
    announce({-1, 0, 0, 0});
  }

 private:
  __device__ void announce(const Tile& tile) {
    barrier_wait(shared_.taken(ahead_.stage), ahead_.parity ^ 1);
    write_tile(shared_.tile(ahead_.stage), tile);
    barrier_arrive(shared_.announced(ahead_.stage));
    ahead_.advance(1);
  }

  __device__ __forceinline__ void copy_tile(const Tile& tile) {
    const GroupedWeight& weight = p_.weights[tile.group];
    acquire_map(weight.map);
    // Of kOwnSlots rows. What is made of a box that is not copied is not stored.
    const int boxes = tile.slots <= kOwnSlots ? 1 : 2;
    const auto bytes = static_cast<unsigned>(S::kWeightBytes + boxes * kOwnSlots * kSpan);
    for (int stage = 0; stage < stages_; ++stage) {
      const std::uint32_t full = shared_.full(turn_.stage), x = shared_.x(turn_.stage);
      const int depth = stage * S::kDepth;
      barrier_wait(shared_.empty(turn_.stage), turn_.parity ^ 1);
      barrier_arrive_expecting(full, bytes);
      copy_box(shared_.weight(turn_.stage), weight.map, depth, tile.column_tile * S::kCols, full);
      copy_box(x, &x_, depth, tile.first_slot, full);
      if (boxes == 2) {
        copy_box(x + kOwnSlots * kSpan, &x_, depth, tile.first_slot + kOwnSlots, full);
      }
      turn_.advance(1);
    }
  }

  const GroupedGemmParams& p_;
  const Map& x_;
  const Shared<S>& shared_;
  const int stages_;
  Turn<S::kStages> turn_;
  Turn<kTilesAhead> ahead_;
};

// What a multiplying thread needs of its place: slots `row` and `row + 8` of the tile.
struct ThreadPlace {
  int group = static_cast<int>(threadIdx.x) / kGroupThreads;
  int lane = static_cast<int>(threadIdx.x) % kWarp;
  int row = static_cast<int>(threadIdx.x) / kWarp * 16 + lane / 4;  // both warpgroups' slots
};

// A warpgroup that multiplies. `epilogue(tile, d)` is called for every tile with the accumulator: 8
// columns of two rows per 4 registers (ThreadPlace).
template <typename T, class Epilogue>
class Multiplier {
 public:
  using S = Shape<T>;

  __device__ Multiplier(const GroupedGemmParams& p, const Shared<S>& shared,
                        const Epilogue& epilogue)
      : p_(p), shared_(shared), epilogue_(epilogue), stages_(stages_of<S>(p)) {}

  __device__ __forceinline__ void run() {
    for (;;) {
      const Tile tile = next_tile();
      if (tile.group < 0) return;
      if constexpr (S::kScaled) {
        multiply_scaled(tile);
      } else if (tile.slots > ThreadPlace().group * kOwnSlots) {
        multiply(tile);
      } else {
        pass();
      }
    }
  }

 private:
  static constexpr int kRegisters = S::kCols / 2;  // of an accumulator

  __device__ Tile next_tile() {
    barrier_wait(shared_.announced(ahead_.stage), ahead_.parity);
    const Tile tile = read_tile(shared_.tile(ahead_.stage));
    barrier_arrive(shared_.taken(ahead_.stage));
    ahead_.advance(1);
    return tile;
  }

  // Begins the products of a stage: d (+)= x weight^T.
  __device__ __forceinline__ void begin(float (&d)[kRegisters], bool add) {
    barrier_wait(shared_.full(turn_.stage), turn_.parity);
    const auto own = static_cast<std::uint32_t>(ThreadPlace().group * kOwnSlots * kSpan);
    const std::uint64_t x = swizzled_operand(shared_.x(turn_.stage) + own, 16, 8 * kSpan);
    const std::uint64_t weight = swizzled_operand(shared_.weight(turn_.stage), 16, 8 * kSpan);
    wgmma_begin();
#pragma unroll
    for (int step = 0; step < kSpan / 32; ++step) {
      if constexpr (S::kScaled) {
        wgmma_e4m3(d, moved(x, step * 32), moved(weight, step * 32), add || step > 0);
      } else {
        wgmma_bf16(d, moved(x, step * 32), moved(weight, step * 32), add || step > 0);
      }
    }
    wgmma_commit();
    turn_.advance(1);
  }

  // Lets the copying thread have the oldest stage.
  __device__ void release() {
    __syncwarp();
    if (threadIdx.x % kWarp == 0) barrier_arrive(shared_.empty(done_.stage));
    done_.advance(1);
  }

  // A tile without any of this warpgroup's slots.
  __device__ __forceinline__ void pass() {
    for (int stage = 0; stage < stages_; ++stage) {
      barrier_wait(shared_.full(turn_.stage), turn_.parity);
      turn_.advance(1);
      release();
    }
  }

  __device__ __forceinline__ void multiply(const Tile& tile) {
    float d[kRegisters];
    begin(d, false);
    for (int stage = 1; stage < stages_; ++stage) {
      begin(d, true);
      wgmma_wait<1>();
      release();
    }
    wgmma_wait(d);
    release();
    epilogue_(tile, d);
  }

  // Where the scales of the thread's two rows begin, and those of its columns, which belong to at
  // most two blocks of 128: `first_cols` to the first one.
  struct Scales {
    const float *low, *high, *first, *second;
    int first_cols;
  };
  __device__ Scales find_scales(const Tile& tile) const {
    const ThreadPlace place;
    const int last = tile.slots - 1;  // rows that are not there are not stored
    const auto of_row = [&](int slot) {
      return p_.x_scales + (std::int64_t{tile.first_slot} + min(slot, last)) * stages_;
    };
    constexpr int kBlock = 128;
    const int column = tile.column_tile * S::kCols;
    const int block = column / kBlock, last_block = (p_.cols - 1) / kBlock;
    const float* const first = p_.weights[tile.group].scales + std::int64_t{block} * stages_;
    return {of_row(place.row), of_row(place.row + 8), first,
            block < last_block ? first + stages_ : first, (block + 1) * kBlock - column};
  }

  // Waits for the products of the oldest stage and adds them.
  __device__ __forceinline__ void add_scaled(const Scales& scales, int stage,
                                             float (&d)[kRegisters], float (&sums)[kRegisters]) {
    // Read while the products run.
    const float low = __ldg(scales.low + stage), high = __ldg(scales.high + stage);
    const float first = __ldg(scales.first + stage), second = __ldg(scales.second + stage);
    wgmma_wait(d);
    release();
    const float of_first[2] = {low * first, high * first};
    const float of_second[2] = {low * second, high * second};
#pragma unroll
    for (int i = 0; i < kRegisters; ++i) {
      const bool is_first = i / 32 * 64 < scales.first_cols;  // which is a multiple of 64
      const float factor = is_first ? of_first[i / 2 % 2] : of_second[i / 2 % 2];
      sums[i] = fmaf(factor, d[i], sums[i]);
    }
  }

  __device__ __forceinline__ void multiply_scaled(const Tile& tile) {
    const Scales scales = find_scales(tile);
    float sums[kRegisters], d[kRegisters];
#pragma unroll
    for (int i = 0; i < kRegisters; ++i) sums[i] = 0;
    for (int stage = 0; stage < stages_; ++stage) {
      begin(d, false);
      add_scaled(scales, stage, d, sums);
    }
    epilogue_(tile, sums);
  }

  const GroupedGemmParams& p_;
  const Shared<S>& shared_;
  const Epilogue& epilogue_;
  const int stages_;
  Turn<S::kStages> turn_, done_;  // the next stage to multiply, and the next to release
  Turn<kTilesAhead> ahead_;
};

template <typename T, class Epilogue>
__global__ void __launch_bounds__(kThreads, 1)
    grouped_gemm_kernel(const __grid_constant__ GroupedGemmParams p, const __grid_constant__ Map x,
                        const __grid_constant__ Epilogue epilogue) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ char dynamic[];
  __shared__ Groups groups;
  const Shared<Shape<T>> shared{(shared_address(dynamic) + 1023u) & ~1023u};
  shared.init();
  find_groups(p, groups);
  __syncthreads();
  const int group = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / kGroupThreads, 0);
  if (group == kMultipliers) {
    leave_registers<kCopierRegisters>();
    if (threadIdx.x == kMultipliers * kGroupThreads) {
      Copier<Shape<T>>(p, x, shared).run(groups);
    }
  } else {
    take_registers<kMultiplierRegisters>();
    Multiplier<T, Epilogue>(p, shared, epilogue).run();
  }
#endif
}

using Encode = decltype(&cuTensorMapEncodeTiled);

// The driver's function; null if it has none.
inline Encode find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  const cudaError_t status = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                              12000, cudaEnableDefault, &found);
  return status == cudaSuccess && found == cudaDriverEntryPointSuccess
             ? reinterpret_cast<Encode>(function)
             : nullptr;
}

// Of [rows, depth] of `type`, `stride` elements apart, in boxes of `box_rows` rows.
inline cudaError_t make_map(const void* data, Type type, std::int64_t rows, int depth,
                            std::int64_t stride, int box_rows, void* map) {
  const Encode encode = find_encode();
  if (encode == nullptr) return cudaErrorNotSupported;
  const bool bytes = type == Type::e4m3;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(depth), static_cast<cuuint64_t>(rows)};
  const cuuint64_t row_bytes[] = {static_cast<cuuint64_t>(stride) * (bytes ? 1 : 2)};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(bytes ? kSpan : kSpan / 2),
                            static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[] = {1, 1};
  const CUresult result =
      encode(static_cast<CUtensorMap*>(map),
             bytes ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2,
             const_cast<void*>(data), sizes, row_bytes, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

template <typename T, class Epilogue>
cudaError_t launch(const GroupedGemmParams& p, const Epilogue& epilogue, cudaStream_t stream) {
  const auto kernel = grouped_gemm_kernel<T, Epilogue>;
  constexpr int kBytes = Shape<T>::kBytes;
  static_assert(kBytes + static_cast<int>(sizeof(Groups)) <= 227 * 1024);
  cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (status != cudaSuccess) return status;
  Map x;
  status = make_map(p.x, p.type, p.slots, p.depth, p.x_stride, kOwnSlots, &x);
  if (status != cudaSuccess) return status;
  status = cudaMemsetAsync(p.tiles_taken, 0, sizeof(*p.tiles_taken), stream);
  if (status != cudaSuccess) return status;
  kernel<<<static_cast<unsigned>(multiprocessors()), kThreads, kBytes, stream>>>(p, x, epilogue);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels::grouped
