// SPDX-License-Identifier: Apache-2.0
// Absorbed MLA over gathered rows with the warpgroup tensor cores of Hopper, for the shape of every
// released model: keys of 512 + 64 columns whose first 512 are the values, bf16.
//
// A block stays on its multiprocessor and takes one tile after the other: a query and 64 of its
// heads (the M side; missing heads are zero rows). One warpgroup scores: it holds the 64 queries in
// registers, so that products of scores read nothing but keys from shared memory. Two warpgroups
// accumulate 256 of the value columns each; between their products they issue the cp.async that
// gather rows for a ring of stages, queries of the next tile included. The probabilities of a stage
// overwrite its last 64 columns, which are no values. The ring of kStages x kKeys rows takes 216
// KiB.
//
// Each barrier of a stage ends one phase per turn of the ring, for stages of queries too, so one
// parity is right for all. Nobody waits for a phase before the one that precedes it has ended: the
// scorer waits for every `full`; the others see each `empty`, the last arrival of a turn. A stage
// is filled when it is empty, scored when it is full, accumulated when it is weighed and then
// empty, in one order of stages for everybody; nobody waits for a later stage, except that a stage
// is filled, kStages ahead, after the products of the one after it have started.
//
// Bounds, per 64 keys and tile: products 2,176 cycles, shared memory 1,850, and 72 KiB from the L2
// (at the 9 TB/s that gathers reach, 1,900 cycles of a multiprocessor). What limits it is the one
// warpgroup that scores: a warpgroup by itself has its products of 48 columns every 34 cycles
// instead of 24, and nothing overlaps its softmax.
#include "kernels/architecture.h"
#include "kernels/attention_ring.cuh"
#include "kernels/sparse_attention.h"
#include "kernels/wgmma_attention.cuh"

namespace indexcache::kernels {
namespace {

__device__ void store_shared(std::uint32_t to, float x) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(to), "f"(x) : "memory");
}
__device__ float load_shared(std::uint32_t from) {
  float x;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(x) : "r"(from) : "memory");
  return x;
}

__device__ void copy_chunk(std::uint32_t to, std::uint32_t from) {
  std::uint32_t x[4];
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(from)
               : "memory");
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(x[0]), "r"(x[1]),
               "r"(x[2]), "r"(x[3])
               : "memory");
}

// Stores four 8 x 8 matrices of 16-bit elements, one row address per lane.
__device__ void store_matrices(std::uint32_t to, const std::uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}

__device__ float exponential(float x) {  // of 2
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ std::uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const std::uint32_t&>(pair);
}

// Running maximum (times the factor) and sum of the two heads, rows, that a thread has a part of.
struct Softmax {
  float peak[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};

  // Turns the scores of some keys into exponentials; returns by how much earlier sums shrink.
  template <int Count>
  __device__ void update(float (&s)[Count], int valid, float factor, float (&shrink)[2]) {
    const int quad = static_cast<int>(threadIdx.x) % 4;
    if (valid < 2 * Count) {
#pragma unroll
      for (int i = 0; i < Count; ++i) {
        if (i / 4 * 8 + 2 * quad + i % 2 >= valid) s[i] = -INFINITY;
      }
    }
    float top[2] = {s[0], s[2]};
#pragma unroll
    for (int i = 0; i < Count; ++i) top[i / 2 % 2] = fmaxf(top[i / 2 % 2], s[i]);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      for (int offset = 1; offset < 4; offset *= 2) {
        top[r] = fmaxf(top[r], __shfl_xor_sync(kAllLanes, top[r], offset));
      }
      top[r] = fmaxf(peak[r], top[r] * factor);
      shrink[r] = exponential(peak[r] - top[r]);
      sum[r] *= shrink[r];
      peak[r] = top[r];
    }
#pragma unroll
    for (int i = 0; i < Count; ++i) {
      s[i] = exponential(fmaf(s[i], factor, -peak[i / 2 % 2]));
      sum[i / 2 % 2] += s[i];
    }
  }

  // Adds the four lanes of a row.
  __device__ float total(int r) const {
    float x = sum[r];
    for (int offset = 1; offset < 4; offset *= 2) x += __shfl_xor_sync(kAllLanes, x, offset);
    return x;
  }
};

// The warpgroup that computes scores and probabilities.
class Scorer {
 public:
  __device__ Scorer(const SparseAttentionParams& p, const Shared& shared)
      : p_(p), shared_(shared) {}

  __device__ void run(const Tiles& tiles) {
    std::uint32_t parity = 0;  // of the tile
    for (int tile = static_cast<int>(blockIdx.x); tile < tiles.count;
         tile += static_cast<int>(gridDim.x), parity ^= 1) {
      count_ = selected(p_, tiles.row(tile));
      stages_ = stages_of(count_);
      softmax_ = Softmax{};
      take_queries();
      score_tile(parity);
    }
  }

 private:
  static constexpr int kScores = kKeys / 2;  // of a thread

  __device__ void score_tile(std::uint32_t parity) {
    float scores[kScores];
    for (int i = 0; i < stages_; ++i) {
      start(scores);
      finish(scores);
      weigh(scores, pass(), i, parity);
    }
  }

  // The queries of a tile, from the next stages of the ring.
  __device__ void take_queries() {
    const int row = group_thread() % kWarp % 16 + group_thread() / kWarp * 16;
    const int chunk = group_thread() % kWarp / 16;
    // Everybody has finished the products of the last tile.
    partial_barrier<kScorerBarrier, kGroupThreads>();
#pragma unroll
    for (int part = 0; part < kQueryStages; ++part) {
      barrier_wait(shared_.full(at_.stage), at_.parity);
      const std::uint32_t stage = shared_.stage(at_.stage);
      if (row / kQueryRows == part) {  // the same for the whole warp
#pragma unroll
        for (int step = 0; step < kHeldSteps; ++step) {
          load_matrices(queries_[step], stage + static_cast<std::uint32_t>(step / 4 * kUnitBytes) +
                                            swizzled_chunk(row % kQueryRows, step % 4 * 2 + chunk));
        }
      }
      for (int i = group_thread(); i < kQueryRows * 8; i += kGroupThreads) {
        const auto offset = static_cast<std::uint32_t>(i * 16);
        copy_chunk(shared_.rope() + static_cast<std::uint32_t>(part * kQueryRows * 128) + offset,
                   shared_.weights(at_.stage) + offset);
      }
      __syncwarp();
      // Every barrier takes part in every stage, so that parities agree; `empty` is the last one,
      // because an accumulating warp sees only that of a stage of queries.
      const int stage_left = pass();
      if (group_thread() % kWarp == 0) {
        barrier_arrive(shared_.weighed(stage_left));
        barrier_arrive(shared_.empty(stage_left), 2);
      }
    }
    fence_shared_for_wgmma();
    partial_barrier<kScorerBarrier, kGroupThreads>();
  }

  // Starts the scores of the next stage.
  __device__ void start(float (&scores)[kScores]) {
    barrier_wait(shared_.full(at_.stage), at_.parity);
    fence_shared_for_wgmma();
    const std::uint32_t keys = shared_.stage(at_.stage);
    wgmma_begin();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const auto column = static_cast<std::uint32_t>(step % 4 * 32);
      const std::uint64_t b = swizzled_operand(
          keys + static_cast<std::uint32_t>(step / 4 * kUnitBytes) + column, 16, 1024);
      if (step < kHeldSteps) {
        wgmma_bf16(scores, queries_[step], b, step > 0);
      } else {
        wgmma_bf16(scores, swizzled_operand(shared_.rope() + column, 16, 1024), b, true);
      }
    }
    wgmma_commit();
  }

  __device__ static void finish(float (&scores)[kScores]) {
    wgmma_wait<0>();
    hold(scores);
  }

  // Goes to the next stage; the one left.
  __device__ int pass() {
    const int stage = at_.stage;
    at_.advance();
    return stage;
  }

  // Probabilities from the scores of the i-th stage of the tile.
  __device__ void weigh(float (&scores)[kScores], int stage, int i, std::uint32_t parity) {
    const int lane = group_thread() % kWarp, first_row = group_thread() / kWarp * 16;
    float shrink[2];
    softmax_.update(scores, count_ - i * kKeys, p_.scale * kLog2E, shrink);
    std::uint32_t packed[kKeys / 16][4];
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        packed[step][j] = pack(scores[8 * step + 2 * j], scores[8 * step + 2 * j + 1]);
      }
    }
    // The last columns of the keys give way when all four warps have finished their scores.
    partial_barrier<kScorerBarrier, kGroupThreads>();
    const std::uint32_t to =
        shared_.weights(stage) + narrow_chunk(first_row + lane % 16, lane / 16);
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step) {
      store_matrices(to + static_cast<std::uint32_t>(step * kWeightsBytes), packed[step]);
    }
    const bool last = i + 1 == stages_;
    for (int r = 0; r < 2; ++r) {
      const auto line = static_cast<std::uint32_t>((first_row + lane / 4 + 8 * r) * 4);
      const float total = last ? softmax_.total(r) : 0.0f;
      if (lane % 4 != 0) continue;
      store_shared(shared_.shrinks(stage) + line, shrink[r]);
      if (last) store_shared(shared_.sums(parity) + line, total);
    }
    fence_shared_for_wgmma();
    __syncwarp();
    if (lane == 0) barrier_arrive(shared_.weighed(stage));
  }

  const SparseAttentionParams& p_;
  const Shared& shared_;
  RingPlace at_;
  int count_ = 0, stages_ = 0;
  Softmax softmax_;
  std::uint32_t queries_[kHeldSteps][4];
};

// Lane i of a quad gets the i-th word of its four lanes.
__device__ void transpose_quad(std::uint32_t (&w)[4]) {
  const bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const std::uint32_t got = __shfl_xor_sync(kAllLanes, odd ? w[i] : w[i + 1], 1);
    (odd ? w[i] : w[i + 1]) = got;
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const std::uint32_t got = __shfl_xor_sync(kAllLanes, high ? w[i] : w[i + 2], 2);
    (high ? w[i] : w[i + 2]) = got;
  }
}

__device__ void store_heads(const SparseAttentionParams& p, int row, int first_head,
                            const float (&out)[128], const float (&sum)[2]) {
  const int lane = group_thread() % kWarp, warp = group_thread() / kWarp;
  const int first_column = (static_cast<int>(threadIdx.x) / kGroupThreads - 1) * 256 + lane % 4 * 8;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float factor = 1.0f / sum[r];
    const int head = first_head + warp * 16 + lane / 4 + 8 * r;
    bf16* to = static_cast<bf16*>(p.out) + row * p.out_stride + head * p.out_head_stride;
#pragma unroll
    for (int i = 0; i < 32; i += 4) {
      std::uint32_t w[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        w[j] = pack(out[4 * (i + j) + 2 * r] * factor, out[4 * (i + j) + 2 * r + 1] * factor);
      }
      transpose_quad(w);
      if (head < p.heads) {
        __stcs(reinterpret_cast<uint4*>(to + first_column + 8 * i),
               make_uint4(w[0], w[1], w[2], w[3]));
      }
    }
  }
}

// out[64 heads, 256 columns] += probabilities x values of a stage, under way when this returns.
__device__ void start_values(float (&out)[128], const Shared& shared, int stage) {
  const std::uint32_t half = (threadIdx.x / kGroupThreads - 1) * 4 * kUnitBytes;
  const std::uint32_t weights = shared.weights(stage);
  wgmma_begin();
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
    wgmma_bf16_transposed(
        out, narrow_operand(weights + static_cast<std::uint32_t>(step * kWeightsBytes)),
        swizzled_operand(shared.stage(stage) + half + static_cast<std::uint32_t>(step * 16 * 128),
                         kUnitBytes, 1024));
  }
  wgmma_commit();
}

// One of the warpgroups that accumulate values and gather.
__device__ void accumulate(const SparseAttentionParams& p, const Tiles& tiles,
                           const Shared& shared) {
  const int lane = group_thread() % kWarp;
  const auto line = static_cast<std::uint32_t>((group_thread() / kWarp * 16 + lane / 4) * 4);
  Gatherer gatherer(p, tiles, shared);
  for (int i = 0; i < kStages; ++i) gatherer.fill();
  RingPlace at;
  std::uint32_t parity = 0;
  for (int tile = static_cast<int>(blockIdx.x); tile < tiles.count;
       tile += static_cast<int>(gridDim.x), parity ^= 1) {
    for (int i = 0; i < kQueryStages; ++i) {
      gatherer.fill();
      at.advance();
    }
    const int stages = stages_of(selected(p, tiles.row(tile)));
    float out[128], sum[2] = {};
#pragma unroll
    for (float& x : out) x = 0;
    for (int i = 0; i < stages; ++i) {
      barrier_wait(shared.weighed(at.stage), at.parity);
      const float shrink[2] = {load_shared(shared.shrinks(at.stage) + line),
                               load_shared(shared.shrinks(at.stage) + line + 8 * 4)};
      if (__any_sync(kAllLanes, shrink[0] != 1.0f || shrink[1] != 1.0f)) {
#pragma unroll
        for (int j = 0; j < 128; ++j) out[j] *= shrink[j / 2 % 2];
      }
      hold(out);
      start_values(out, shared, at.stage);
      if (i > 0) gatherer.fill();  // the stage before this one
      wgmma_wait<0>();
      hold(out);
      if (i + 1 == stages) {
        sum[0] = load_shared(shared.sums(parity) + line);
        sum[1] = load_shared(shared.sums(parity) + line + 8 * 4);
        __syncwarp();
      }
      if (lane == 0) barrier_arrive(shared.empty(at.stage));
      at.advance();
    }
    gatherer.fill();  // the last stage of the tile
    store_heads(p, tiles.row(tile), tiles.first_head(tile), out, sum);
  }
}

__global__ void __launch_bounds__(kThreads, 1) attention_sm90_kernel(SparseAttentionParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) char memory[];
  const Shared shared{shared_address(memory)};
  const Tiles tiles(p);
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      barrier_make(shared.full(i), kCopiers);
      barrier_make(shared.weighed(i), kGroupThreads / kWarp);
      barrier_make(shared.empty(i), kCopiers / kWarp);
    }
    barriers_made();
  }
  __syncthreads();
  if (threadIdx.x < kGroupThreads) {
    take_registers<kScoreRegisters>();
    Scorer(p, shared).run(tiles);
  } else {
    leave_registers<kValueRegisters>();
    accumulate(p, tiles, shared);
  }
#endif
}

}  // namespace

bool sparse_attention_sm90_applies(const SparseAttentionParams& p) {
  return p.type == Type::bf16 && p.key_width == kKeyWidth && p.value_width == kValueWidth &&
         p.scale > 0 && p.rows * ceil_div(p.heads, kHeads) <= INT32_MAX / 2 &&
         aligned(p.queries, p.query_stride | p.query_head_stride) &&
         aligned(p.keys, p.key_stride) && aligned(p.out, p.out_stride | p.out_head_stride) &&
         has_warpgroups();
}

cudaError_t sparse_attention_sm90(const SparseAttentionParams& params, cudaStream_t stream) {
  if (!sparse_attention_sm90_applies(params)) return cudaErrorInvalidValue;
  const cudaError_t status = cudaFuncSetAttribute(
      attention_sm90_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (status != cudaSuccess) return status;
  const std::int64_t tiles = params.rows * ceil_div(params.heads, kHeads);
  const int blocks = static_cast<int>(tiles < multiprocessors() ? tiles : multiprocessors());
  attention_sm90_kernel<<<blocks, kThreads, kBytes, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
