// SPDX-License-Identifier: Apache-2.0
// Products of groups with the warpgroup tensor cores of Hopper.
//
// One block of three warpgroups per multiprocessor takes tile after tile of all groups: 128 slots
// by 256 columns (bf16) or 128 (e4m3). A warpgroup fills a ring of stages, 128 bytes of depth of
// every row of x and of the weight: it copies x with cp.async, which follows row_of_slot for free,
// and one thread has the tensor memory accelerator copy the weight. (With cp.async for both,
// issuing the copies took a sixth of the time in e4m3 and a third in bf16.) The other two
// warpgroups multiply 64 slots each. bf16 keeps one stage's products under way while the next is
// awaited. e4m3 has two banks of accumulators: while one's products run, the other's, of the 128
// columns before, are scaled and added to the sums in float32.
//
// Tiles of a group come in bands of kBand tiles of slots, all columns of a band one after the
// other, so that what the blocks read at a time fits in the L2.
//
// Bounds, per stage of a tile: products 1,024 (bf16) and 512 cycles (e4m3), shared memory 640 and
// 512, L2 48 and 32 KiB, which at 40 bytes per cycle takes 1,230 and 820 cycles; bf16 is limited by
// power before.
#include "kernels/architecture.h"
#include "kernels/grouped_gemm.h"
#include "kernels/mbarrier.cuh"
#include "kernels/mma.cuh"
#include "kernels/wgmma.cuh"

#include <cuda.h>

namespace indexcache::kernels {
namespace {

constexpr int kGroupThreads = 128;  // of a warpgroup
constexpr int kMultipliers = 2;     // warpgroups
constexpr int kThreads = (kMultipliers + 1) * kGroupThreads;
constexpr int kOwnSlots = 64;  // of a multiplying warpgroup
constexpr int kSlots = kMultipliers * kOwnSlots;
constexpr int kSpan = 128;      // bytes of depth of a stage
constexpr int kRowCopiers = 8;  // threads that share a row
constexpr int kRowsAtOnce = kGroupThreads / kRowCopiers;
constexpr int kBand = 16;  // tiles of slots
// Of a thread; the launch takes 168 each.
constexpr int kMultiplierRegisters = 216;
constexpr int kCopierRegisters = 72;

template <typename T>
struct Shape {
  static constexpr bool kScaled = sizeof(T) == 1;
  static constexpr int kDepth = kSpan / static_cast<int>(sizeof(T));  // of a stage
  static constexpr int kCols = kScaled ? 128 : 256;
  static constexpr int kStages = kScaled ? 6 : 4;
  static constexpr int kXBytes = kSlots * kSpan;
  static constexpr int kStageBytes = kXBytes + kCols * kSpan;
  static constexpr int kBarriers = kStages * kStageBytes;            // offset in shared memory
  static constexpr int kBytes = kBarriers + 2 * 8 * kStages + 1024;  // and alignment
};

// Where the groups begin, in tiles of slots and in slots.
struct Groups {
  int first_tile[kMostGroups + 1];
  int first_slot[kMostGroups + 1];
};

struct Tile {
  int group;
  int first_slot, slots;  // of all groups
  int column_tile;
};

// Prefix sums by the first warp; the block synchronizes afterwards.
__device__ void find_groups(const GroupedGemmParams& p, Groups& groups) {
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
__device__ Tile find_tile(const GroupedGemmParams& p, const Groups& groups, int column_tiles,
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
  __device__ std::uint32_t full(int stage) const {
    return base + static_cast<std::uint32_t>(S::kBarriers + 8 * stage);
  }
  __device__ std::uint32_t empty(int stage) const { return full(S::kStages + stage); }

  __device__ void init() const {
    if (threadIdx.x == 0) {
      for (int stage = 0; stage < S::kStages; ++stage) {
        barrier_make(full(stage), kGroupThreads + 1);
        barrier_make(empty(stage), kMultipliers * kGroupThreads / kWarp);
      }
      barriers_made();
    }
  }
};

// Calls body(tile) for the tiles of this block.
template <class S, typename Body>
__device__ __forceinline__ void for_tiles(const GroupedGemmParams& p, const Groups& groups,
                                          const Body& body) {
  const int column_tiles = (p.cols + S::kCols - 1) / S::kCols;
  const int tiles = groups.first_tile[p.groups] * column_tiles;
  for (int i = static_cast<int>(blockIdx.x); i < tiles; i += static_cast<int>(gridDim.x)) {
    body(find_tile(p, groups, column_tiles, i));
  }
}

template <class S>
__device__ int stages_of(const GroupedGemmParams& p) {
  return (p.depth + S::kDepth - 1) / S::kDepth;
}

__device__ inline std::int64_t row_of(const GroupedGemmParams& p, int slot) {
  return p.row_of_slot == nullptr ? slot : p.row_of_slot[slot];
}

constexpr std::uint32_t kNoRow = 0xffffffffu;

// The host wrote the map; the accelerator reads it through a proxy of its own.
__device__ inline void acquire_map(const GroupedWeight& weight) {
  asm volatile("fence.proxy.tensormap::generic.acquire.sys [%0], 128;" ::"l"(weight.map)
               : "memory");
}

// Begins the copy of 128 bytes of depth from `depth` on, of kCols rows from `row` on; what is
// beyond the matrix is zero.
__device__ inline void copy_box(std::uint32_t to, const GroupedWeight& weight, int depth, int row,
                                std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
      "l"(weight.map), "r"(depth), "r"(row), "r"(barrier)
      : "memory");
}

template <typename T>
__device__ void copy_stages(const GroupedGemmParams& p, const Groups& groups,
                            const Shared<Shape<T>>& shared) {
  using S = Shape<T>;
  constexpr int kPasses = kSlots / kRowsAtOnce;
  const int thread = static_cast<int>(threadIdx.x) % kGroupThreads;
  const int first_row = thread / kRowCopiers, chunk = thread % kRowCopiers;
  const int stages = stages_of<S>(p);
  const int row_bytes = p.depth * static_cast<int>(sizeof(T));
  const std::int64_t row_chunks = p.x_stride * static_cast<std::int64_t>(sizeof(T)) / 16;
  const char* const from_x = static_cast<const char*>(p.x) + chunk * 16;
  const std::uint32_t to = swizzled_chunk(first_row, chunk);
  Turn<S::kStages> turn;
  for_tiles<S>(p, groups, [&](const Tile& tile) {
    std::uint32_t x[kPasses];  // where the rows begin, in chunks of 16 bytes
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int slot = pass * kRowsAtOnce + first_row;
      x[pass] = kNoRow;
      if (slot >= tile.slots) continue;
      x[pass] = static_cast<std::uint32_t>(row_of(p, tile.first_slot + slot) * row_chunks);
    }
    const GroupedWeight& weight = p.weights[tile.group];
    if (thread == 0) acquire_map(weight);
    for (int stage = 0; stage < stages; ++stage) {
      barrier_wait(shared.empty(turn.stage), turn.parity ^ 1);
      if (thread == 0) {
        barrier_arrive_expecting(shared.full(turn.stage), S::kCols * kSpan);
        copy_box(shared.weight(turn.stage), weight, stage * S::kDepth, tile.column_tile * S::kCols,
                 shared.full(turn.stage));
      }
      const int at = stage * kSpan;
      const bool inside = at + chunk * 16 < row_bytes;
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        const bool present = inside && x[pass] != kNoRow;
        copy_async(shared.x(turn.stage) + to + pass * kRowsAtOnce * kSpan,
                   present ? from_x + std::int64_t{x[pass]} * 16 + at : from_x, present);
      }
      barrier_arrive_after_copies(shared.full(turn.stage));
      turn.advance(1);
    }
  });
  copy_async_commit();
  copy_async_wait<0>();
}

// What a multiplying thread needs of its place: rows `row` and `row + 8` of the tile.
struct ThreadPlace {
  int group = static_cast<int>(threadIdx.x) / kGroupThreads;
  int lane = static_cast<int>(threadIdx.x) % kWarp;
  int row = static_cast<int>(threadIdx.x) / kWarp * 16 + lane / 4;  // both warpgroups' slots
};

__device__ inline void store(bf16* to, const float* from, int column, int quad, int cols) {
  std::uint32_t w[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) w[j] = pack(from[4 * j], from[4 * j + 1]);
  transpose_quad(w);
  if (to != nullptr && column + 8 * quad < cols) {
    *reinterpret_cast<uint4*>(to + column + 8 * quad) = make_uint4(w[0], w[1], w[2], w[3]);
  }
}

__device__ inline void store(float* to, const float* from, int column, int quad, int cols,
                             bool accumulate) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int at = column + 8 * j + 2 * quad;
    if (to == nullptr || at >= cols) continue;
    auto& pair = *reinterpret_cast<float2*>(to + at);
    const float2 before = accumulate ? pair : make_float2(0, 0);
    pair = make_float2(before.x + from[4 * j], before.y + from[4 * j + 1]);
  }
}

// Writes d: 8 columns of two rows per 4 registers.
template <int Registers>
__device__ __forceinline__ void store_tile(const GroupedGemmParams& p, const Tile& tile,
                                           int first_column, const float (&d)[Registers]) {
  const ThreadPlace place;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int slot = place.row + 8 * r;
    const bool present = slot < tile.slots;
    const std::int64_t at = (std::int64_t{tile.first_slot} + slot) * p.out_stride;
#pragma unroll
    for (int i = 0; i < Registers; i += 16) {
      const int column = first_column + i * 2;
      if (p.out_type == Type::bf16) {
        bf16* const to = present ? static_cast<bf16*>(p.out) + at : nullptr;
        store(to, d + i + 2 * r, column, place.lane % 4, p.cols);
      } else {
        float* const to = present ? static_cast<float*>(p.out) + at : nullptr;
        store(to, d + i + 2 * r, column, place.lane % 4, p.cols, p.accumulate);
      }
    }
  }
}

// A warpgroup that multiplies.
template <typename T>
class Multiplier {
 public:
  using S = Shape<T>;

  __device__ Multiplier(const GroupedGemmParams& p, const Shared<S>& shared)
      : p_(p), shared_(shared), stages_(stages_of<S>(p)) {}

  __device__ void run(const Groups& groups) {
    for_tiles<S>(p_, groups, [&](const Tile& tile) {
      if constexpr (S::kScaled) {
        multiply_scaled(tile);
      } else {
        multiply(tile);
      }
    });
  }

 private:
  static constexpr int kRegisters = S::kCols / 2;  // of an accumulator

  // Begins the products of a stage: d (+)= x weight^T.
  __device__ __forceinline__ void begin(float (&d)[kRegisters], bool add) {
    barrier_wait(shared_.full(turn_.stage), turn_.parity);
    fence_shared_for_wgmma();
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

  // Lets the copying warpgroup have the oldest stage.
  __device__ void release() {
    __syncwarp();
    if (threadIdx.x % kWarp == 0) barrier_arrive(shared_.empty(done_.stage));
    done_.advance(1);
  }

  __device__ __forceinline__ void multiply(const Tile& tile) {
    float d[kRegisters];
    begin(d, false);
    for (int stage = 1; stage < stages_; ++stage) {
      begin(d, true);
      wgmma_wait<1>();
      release();
    }
    wgmma_wait<0>();
    hold(d);
    release();
    store_tile(p_, tile, tile.column_tile * S::kCols, d);
  }

  // Scales of the two rows and the columns of this thread.
  struct Scales {
    const float *low, *high, *weight;
  };
  __device__ Scales find_scales(const Tile& tile) const {
    const ThreadPlace place;
    const int last = tile.slots - 1;  // rows that are not there are not stored
    const auto of_row = [&](int slot) {
      return p_.x_scales + row_of(p_, tile.first_slot + min(slot, last)) * stages_;
    };
    return {of_row(place.row), of_row(place.row + 8),
            p_.weights[tile.group].scales + std::int64_t{tile.column_tile} * stages_};
  }

  // Of one stage; read while its products run.
  struct StageScales {
    float low, high, weight;
  };
  __device__ __forceinline__ static StageScales read(const Scales& scales, int stage) {
    return {__ldg(scales.low + stage), __ldg(scales.high + stage), __ldg(scales.weight + stage)};
  }

  __device__ __forceinline__ static void add_scaled(const StageScales& scales,
                                                    const float (&d)[kRegisters],
                                                    float (&sums)[kRegisters]) {
    const float factor[2] = {scales.low * scales.weight, scales.high * scales.weight};
#pragma unroll
    for (int i = 0; i < kRegisters; ++i) sums[i] = fmaf(factor[i / 2 % 2], d[i], sums[i]);
  }

  __device__ __forceinline__ void multiply_scaled(const Tile& tile) {
    const Scales scales = find_scales(tile);
    float sums[kRegisters], bank0[kRegisters], bank1[kRegisters];
#pragma unroll
    for (int i = 0; i < kRegisters; ++i) sums[i] = bank0[i] = bank1[i] = 0;
    begin(bank0, false);
    StageScales even = read(scales, 0), odd = even;
    finish(bank0);
    for (int stage = 1;; stage += 2) {
      if (stage == stages_) {
        add_scaled(even, bank0, sums);
        break;
      }
      begin(bank1, false);
      odd = read(scales, stage);
      add_scaled(even, bank0, sums);
      finish(bank1);
      if (stage + 1 == stages_) {
        add_scaled(odd, bank1, sums);
        break;
      }
      begin(bank0, false);
      even = read(scales, stage + 1);
      add_scaled(odd, bank1, sums);
      finish(bank0);
    }
    store_tile(p_, tile, tile.column_tile * S::kCols, sums);
  }

  __device__ __forceinline__ void finish(float (&d)[kRegisters]) {
    wgmma_wait(d);
    release();
  }

  const GroupedGemmParams& p_;
  const Shared<S>& shared_;
  const int stages_;
  Turn<S::kStages> turn_, done_;  // the next stage to multiply, and the next to release
};

template <typename T>
__global__ void __launch_bounds__(kThreads, 1)
    grouped_gemm_kernel(const __grid_constant__ GroupedGemmParams p) {
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
    copy_stages<T>(p, groups, shared);
  } else {
    take_registers<kMultiplierRegisters>();
    Multiplier<T>(p, shared).run(groups);
  }
#endif
}

template <typename T>
cudaError_t launch(const GroupedGemmParams& p, cudaStream_t stream) {
  const auto kernel = grouped_gemm_kernel<T>;
  constexpr int kBytes = Shape<T>::kBytes;
  static_assert(kBytes + static_cast<int>(sizeof(Groups)) <= 227 * 1024);
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (status != cudaSuccess) return status;
  kernel<<<static_cast<unsigned>(multiprocessors()), kThreads, kBytes, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t make_grouped_weight(const void* data, const float* scales, Type type, int cols,
                                int depth, GroupedWeight* weight) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  const cudaError_t status = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                              12000, cudaEnableDefault, &found);
  if (status != cudaSuccess) return status;
  if (found != cudaDriverEntryPointSuccess) return cudaErrorNotSupported;
  static_assert(sizeof(CUtensorMap) == sizeof(weight->map));
  const bool scaled = type == Type::e4m3;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(depth), static_cast<cuuint64_t>(cols)};
  const cuuint64_t row_bytes[] = {static_cast<cuuint64_t>(depth) * (scaled ? 1 : 2)};
  const cuuint32_t box[] = {
      static_cast<cuuint32_t>(scaled ? Shape<__nv_fp8_e4m3>::kDepth : Shape<bf16>::kDepth),
      static_cast<cuuint32_t>(scaled ? Shape<__nv_fp8_e4m3>::kCols : Shape<bf16>::kCols)};
  const cuuint32_t steps[] = {1, 1};
  const CUresult result = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function)(
      reinterpret_cast<CUtensorMap*>(weight->map),
      scaled ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2,
      const_cast<void*>(data), sizes, row_bytes, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) return cudaErrorInvalidValue;
  weight->scales = scales;
  return cudaSuccess;
}

bool grouped_gemm_applies(const GroupedGemmParams& p) {
  if (p.type != Type::bf16 && p.type != Type::e4m3) return false;
  if (p.out_type != Type::bf16 && p.out_type != Type::f32) return false;
  if (p.accumulate && p.out_type != Type::f32) return false;
  const std::int64_t size = p.type == Type::bf16 ? 2 : 1,
                     out_size = p.out_type == Type::bf16 ? 2 : 4;
  return p.groups >= 1 && p.groups <= kMostGroups && p.slots <= INT32_MAX / 2 && p.depth > 0 &&
         p.cols % 8 == 0 && p.depth * size % 16 == 0 && whole_chunks(p.x, p.x_stride * size) &&
         whole_chunks(p.out, p.out_stride * out_size) && has_warpgroups();
}

cudaError_t grouped_gemm(const GroupedGemmParams& params, cudaStream_t stream) {
  if (params.slots == 0 || params.cols == 0) return cudaSuccess;
  if (!grouped_gemm_applies(params)) return cudaErrorInvalidValue;
  if (params.type == Type::bf16) return launch<bf16>(params, stream);
  return launch<__nv_fp8_e4m3>(params, stream);
}

}  // namespace indexcache::kernels
