// SPDX-License-Identifier: Apache-2.0
// Products of groups with the warpgroup tensor cores of Hopper, for kernels that differ in what
// they do with the results.
//
// One block per multiprocessor takes tile after tile of all groups: up to 192 slots by 256 columns
// (bf16) or 128 (e4m3). One thread takes a tile and announces it; another one fills a ring of
// stages, 128 bytes of depth of every row of x and of the weight, with the tensor memory
// accelerator, by two maps for each group. (With cp.async for x, which could follow the rows of an
// expert, issuing the copies took 6% of bf16 products and 14% of e4m3.) Three warpgroups multiply
// up to 64 slots each, and do nothing for a tile without any of theirs. bf16 keeps one stage's
// products under way while the next is awaited. In e4m3 the products of a stage are awaited, scaled
// and added to the sums in float32, while the other warpgroups have the tensor cores; two more
// warps multiply the scales ahead of them (grouped_copy.cuh).
//
// A block takes the next tile shortly before it needs it, so that tiles which share columns of a
// weight are under way at nearly the same time, and only the first one reads the weight from
// memory. Taken a tile earlier, experts in bf16 read 30 GB instead of 23 and took 4% longer; with a
// fixed share of the tiles for each block, they took 1.6 times as long.
//
// Bounds, per stage and whole part of 64 slots, in cycles: products 512 (bf16) and 256 (e4m3);
// shared memory, of which operands are read and copies written at 128 bytes per cycle, 533 (x is
// read twice, as a product has half of the columns) and 299, and some 30 for scales. Both types run
// at the latter until the power cap lowers the clock.
#pragma once

#include "kernels/architecture.h"
#include "kernels/grouped_copy.cuh"
#include "kernels/mma.cuh"
#include "kernels/wgmma.cuh"
#include "kernels/wgmma_columns.cuh"

namespace indexcache::kernels::grouped {

constexpr int kFewSlots = 48;  // of a part, in bf16

// What a multiplying thread needs of its place: slots `row` and `row + 8` of the tile.
struct ThreadPlace {
  int lane = static_cast<int>(threadIdx.x) % kWarp;
  int row = static_cast<int>(threadIdx.x) / kWarp * 16 + lane / 4;  // of all warpgroups
};

// A warpgroup that multiplies its part of a tile, and then calls
//   epilogue(tile, d)
// with the accumulator d: 8 columns of two slots per 4 registers (ThreadPlace). If
// Epilogue::kOrdered, the columns are in the order of grouped_columns.cuh, and in bf16 a part of
// at most kFewSlots slots does not cost as much as 64: it is multiplied with the weight's columns
// on the left and 16, 32 or 48 slots on the right. Then the warpgroup calls
//   epilogue.few<Slots>(tile, first_slot, d)
// Its accumulator has Slots registers for each 128 columns, half of them for the even eights of
// places and half for the odd ones, as wgmma.cuh describes it: its rows are columns of the result,
// and its columns are slots of the tile from `first_slot` on.
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
        factors_(shared.factors(0) + static_cast<std::uint32_t>(ThreadPlace().row * 4)),
        releases_(S::kReleasesOfGroup == kGroupThreads || threadIdx.x % kWarp == 0) {}

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
    std::uint64_t weight = moved(weight_, turn_.stage * S::kStageBytes);
    if constexpr (Slots < kPartSlots) weight = stretched(weight, 8 * kBoxRowBytes);
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
                   moved(weight, (i / 2 * kColumnBox + i % 2 * 8) * kBoxRowBytes), x, add);
      }
    }
  }

  // Lets the copying warps have a stage.
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
      } else if (!Epilogue::kOrdered || slots > kFewSlots) {
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
    } else if constexpr (Epilogue::kOrdered) {
      epilogue_.template few<Slots>(tile, first_slot_, d);
    }
  }

  // Factors of a stage's products: of the thread's two slots.
  using Factors = float[2];
  __device__ __forceinline__ void read_factors(Factors& factors) const {
    const std::uint32_t from = factors_ + static_cast<std::uint32_t>(turn_.stage * S::kFactorBytes);
    factors[0] = load_shared(from);
    factors[1] = load_shared(from + 8 * sizeof(float));
  }

  // Waits for the products of a stage and adds them.
  __device__ __forceinline__ void add_scaled(const Factors& factors, float (&d)[kRegisters],
                                             float (&sums)[kRegisters]) {
    wgmma_wait(d);
    release(turn_.stage);
    turn_.advance(1);
#pragma unroll
    for (int i = 0; i < kRegisters; ++i) sums[i] = fmaf(factors[i / 2 % 2], d[i], sums[i]);
  }

  // Results are stored while the products of the next tile's first stage run.
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
      float d[kRegisters];
      Factors factors;
      begin<kPartSlots>(d, false);
      read_factors(factors);
      if (done.group >= 0) epilogue_(done, sums);
      done = tile;
#pragma unroll
      for (int i = 0; i < kRegisters; ++i) sums[i] = 0;
#pragma unroll 4
      for (int stage = 1; stage < stages_; ++stage) {
        add_scaled(factors, d, sums);
        begin<kPartSlots>(d, false);
        read_factors(factors);
      }
      add_scaled(factors, d, sums);
    }
    if (done.group >= 0) epilogue_(done, sums);
  }

  const GroupedGemmParams& p_;
  const Shared<S>& shared_;
  const Epilogue& epilogue_;
  const int stages_;
  const int first_slot_;            // of this warpgroup's part of a tile
  const std::uint64_t x_, weight_;  // the first stage's
  const std::uint32_t factors_;     // of the thread's first slot, of the first stage
  const bool releases_;             // stages
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
    leave_registers<S::kCopierRegisters>();
    const int thread = static_cast<int>(threadIdx.x) % kGroupThreads;
    if (thread == 0) Copier<S, Epilogue::kOrdered>(p, shared).run();
    if (thread == kWarp) Finder<S>(p, shared).run();
    if constexpr (S::kScaled) {
      if (thread >= kGroupThreads - S::kScaleThreads) Scaler<S>(p, shared).run();
    }
  } else {
    take_registers<S::kMultiplierRegisters>();
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
  const EncodeTensorMap encode = find_encoder();
  if (encode == nullptr) return cudaErrorNotSupported;
  TensorMap x, weight;
  status =
      make_tensor_map(encode, p.x, p.type, p.depth, p.x_stride, {{p.slots, 1, kPartSlots}}, &x);
  if (status != cudaSuccess) return status;
  status = make_columns_map<Epilogue::kOrdered>(encode, p, &weight);
  if (status != cudaSuccess) return status;
  find_groups_kernel<<<1, 2 * kWarp, 0, stream>>>(p, x, weight);
  const auto blocks = static_cast<unsigned>(multiprocessors());
  kernel<<<blocks, kThreads, S::kBytes, stream>>>(p, epilogue);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels::grouped
