// SPDX-License-Identifier: Apache-2.0
// bf16 attention over gathered rows with warp-level tensor cores, any shape of whole sixteens. A
// block of four warps owns one query and 16 of its heads and walks over the selected rows 64 at a
// time: every warp scores 16 of them, then takes a share of the value columns. Probabilities are
// rounded to bf16; maxima, sums and results are float32.
#include "kernels/mma.cuh"
#include "kernels/sparse_attention.h"

namespace indexcache::kernels {
namespace {

constexpr int kHeads = 16;
constexpr int kKeys = 64;
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kPad = 8;  // bf16 elements: rows start 16 bytes apart in the banks
constexpr int kScorePitch = kKeys + 4;
constexpr int kWeightPitch = kKeys + kPad;

struct Buffers {
  bf16* keys;                  // [kKeys, pitch]
  bf16* queries;               // [kHeads, pitch]
  bf16* weights;               // [kHeads, kWeightPitch] exponentials
  float* scores;               // [kHeads, kScorePitch]
  float *peak, *sum, *shrink;  // [kHeads]
  int pitch;
};

std::size_t shared_bytes(int width) {
  return static_cast<std::size_t>((kKeys + kHeads) * (width + kPad) + kHeads * kWeightPitch) *
             sizeof(bf16) +
         static_cast<std::size_t>(kHeads * kScorePitch + 3 * kHeads) * sizeof(float);
}

__device__ Buffers buffers_in(char* memory, int width) {
  Buffers shared{};
  shared.pitch = width + kPad;
  shared.keys = reinterpret_cast<bf16*>(memory);
  shared.queries = shared.keys + kKeys * shared.pitch;
  shared.weights = shared.queries + kHeads * shared.pitch;
  shared.scores = reinterpret_cast<float*>(shared.weights + kHeads * kWeightPitch);
  shared.peak = shared.scores + kHeads * kScorePitch;
  shared.sum = shared.peak + kHeads;
  shared.shrink = shared.sum + kHeads;
  return shared;
}

// Gathers up to kKeys rows from the `first`-th of the selection on; the others become zero.
__device__ void load_keys(const SparseAttentionParams& p, const Buffers& shared, std::int64_t row,
                          const RowPlace& place, int first, int count) {
  const int chunks = p.key_width / 8;
  for (int i = static_cast<int>(threadIdx.x); i < kKeys * chunks; i += kThreads) {
    const int key = i / chunks, d = i % chunks * 8;
    const bool present = first + key < count;
    const int position = !present            ? 0
                         : p.sets == nullptr ? first + key
                                             : p.sets[row * p.sets_stride + first + key];
    copy_async(shared_address(shared.keys + key * shared.pitch + d),
               static_cast<const bf16*>(p.keys) +
                   (std::int64_t{place.key_base} + position) * p.key_stride + d,
               present);
  }
}

__device__ void load_queries(const SparseAttentionParams& p, const Buffers& shared,
                             std::int64_t row, int first_head) {
  const int chunks = p.key_width / 8;
  for (int i = static_cast<int>(threadIdx.x); i < kHeads * chunks; i += kThreads) {
    const int head = i / chunks, d = i % chunks * 8;
    const bool present = first_head + head < p.heads;
    copy_async(shared_address(shared.queries + head * shared.pitch + d),
               static_cast<const bf16*>(p.queries) + row * p.query_stride +
                   (present ? first_head + head : 0) * p.query_head_stride + d,
               present);
  }
}

// This warp's 16 keys against all heads, times `scale`; keys from `valid` on get -inf.
__device__ void score(const SparseAttentionParams& p, const Buffers& shared, int valid) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int first = static_cast<int>(threadIdx.x) / kWarp * 16;
  const std::uint32_t q = shared_address(shared.queries + lane % 16 * shared.pitch + lane / 16 * 8);
  // Matrices of 8 keys: the first 8 along two eighths of k, then the other 8.
  const std::uint32_t k = shared_address(
      shared.keys + (first + lane % 8 + lane / 16 * 8) * shared.pitch + lane / 8 % 2 * 8);
  float d[2][4] = {};
  for (int step = 0; step < p.key_width; step += 16) {
    const auto offset = static_cast<std::uint32_t>(step * static_cast<int>(sizeof(bf16)));
    std::uint32_t a[4], b[4];
    load_matrices(a, q + offset);
    load_matrices(b, k + offset);
    mma(d[0], a, b[0], b[1], bf16{});
    mma(d[1], a, b[2], b[3], bf16{});
  }
  for (int i = 0; i < 8; ++i) {
    const int head = lane / 4 + i % 4 / 2 * 8;
    const int key = first + i / 4 * 8 + 2 * (lane % 4) + i % 2;
    shared.scores[head * kScorePitch + key] = key < valid ? d[i / 4][i % 4] * p.scale : -INFINITY;
  }
}

// Running softmax of the tile; a warp takes four heads, a lane two keys of each.
__device__ void exponentiate(const Buffers& shared) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int head = static_cast<int>(threadIdx.x) / kWarp; head < kHeads; head += kWarps) {
    const float* scores = shared.scores + head * kScorePitch;
    const float before = shared.peak[head];
    const float low = scores[lane], high = scores[lane + kWarp];
    const float top = fmaxf(before, warp_max(fmaxf(low, high)));
    const float low_weight = expf(low - top), high_weight = expf(high - top);
    shared.weights[head * kWeightPitch + lane] = from_float<bf16>(low_weight);
    shared.weights[head * kWeightPitch + lane + kWarp] = from_float<bf16>(high_weight);
    const float sum = warp_sum(low_weight + high_weight);
    __syncwarp();
    if (lane == 0) {
      const float shrink = expf(before - top);
      shared.shrink[head] = shrink;
      shared.sum[head] = shared.sum[head] * shrink + sum;
      shared.peak[head] = top;
    }
  }
}

// out[16 heads, 16 columns] of each of this warp's blocks of columns += weights x values.
template <int Blocks>
__device__ void add_values(const SparseAttentionParams& p, const Buffers& shared,
                           float (&out)[Blocks][2][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const float shrink[2] = {shared.shrink[lane / 4], shared.shrink[lane / 4 + 8]};
  std::uint32_t a[kKeys / 16][4];
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
    load_matrices(a[step], shared_address(shared.weights + lane % 16 * kWeightPitch + 16 * step +
                                          lane / 16 * 8));
  }
#pragma unroll
  for (int block = 0; block < Blocks; ++block) {
    const int column = (block * kWarps + warp) * 16;
    if (column >= p.value_width) break;
    for (int i = 0; i < 8; ++i) out[block][i / 4][i % 4] *= shrink[i % 4 / 2];
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step) {
      std::uint32_t b[4];  // 16 keys by 8 columns, twice
      load_matrices_transposed(
          b, shared_address(shared.keys + (16 * step + lane % 16) * shared.pitch + column +
                            lane / 16 * 8));
      mma(out[block][0], a[step], b[0], b[1], bf16{});
      mma(out[block][1], a[step], b[2], b[3], bf16{});
    }
  }
}

template <int Blocks>
__device__ void store(const SparseAttentionParams& p, const Buffers& shared, std::int64_t row,
                      int first_head, const float (&out)[Blocks][2][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int head = lane / 4 + 8 * r;
    if (first_head + head >= p.heads) continue;
    const float factor = 1.0f / shared.sum[head];
    bf16* to = static_cast<bf16*>(p.out) + row * p.out_stride +
               (first_head + head) * p.out_head_stride + 2 * (lane % 4);
#pragma unroll
    for (int block = 0; block < Blocks; ++block) {
      const int column = (block * kWarps + warp) * 16;
      if (column >= p.value_width) break;
      for (int n = 0; n < 2; ++n) {
        const float* pair = out[block][n] + 2 * r;
        to[column + 8 * n] = from_float<bf16>(pair[0] * factor);
        to[column + 8 * n + 1] = from_float<bf16>(pair[1] * factor);
      }
    }
  }
}

// Blocks: groups of 16 value columns of a warp.
template <int Blocks>
__global__ void __launch_bounds__(kThreads) attention_mma_kernel(SparseAttentionParams p) {
  extern __shared__ __align__(16) char memory[];
  const Buffers shared = buffers_in(memory, p.key_width);
  const std::int64_t row = blockIdx.x;
  const int first_head = static_cast<int>(blockIdx.y) * kHeads;
  const RowPlace place = p.places[row];
  const int count = p.sets == nullptr ? place.position + 1 : p.k;
  load_queries(p, shared, row, first_head);
  if (threadIdx.x < kHeads) {
    shared.peak[threadIdx.x] = -INFINITY;
    shared.sum[threadIdx.x] = 0;
  }
  float out[Blocks][2][4] = {};
  for (int first = 0; first < count; first += kKeys) {
    load_keys(p, shared, row, place, first, count);
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
    score(p, shared, count - first);
    __syncthreads();
    exponentiate(shared);
    __syncthreads();
    add_values(p, shared, out);
    __syncthreads();
  }
  store(p, shared, row, first_head, out);
}

template <int Blocks>
cudaError_t launch(const SparseAttentionParams& p, cudaStream_t stream) {
  const auto kernel = attention_mma_kernel<Blocks>;
  const std::size_t bytes = shared_bytes(p.key_width);
  const cudaError_t status = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (status != cudaSuccess) return status;
  const dim3 grid(static_cast<unsigned>(p.rows), static_cast<unsigned>(ceil_div(p.heads, kHeads)));
  kernel<<<grid, kThreads, bytes, stream>>>(p);
  return cudaGetLastError();
}

bool aligned(const void* pointer, std::int64_t stride) {
  return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0 && stride % 8 == 0;
}

}  // namespace

bool sparse_attention_mma_applies(const SparseAttentionParams& p) {
  return p.type == Type::bf16 && p.key_width % 16 == 0 && p.value_width % 16 == 0 &&
         p.key_width <= kMostAttentionKeyWidth && p.value_width <= kMostAttentionValueWidth &&
         aligned(p.queries, p.query_stride | p.query_head_stride) && aligned(p.keys, p.key_stride);
}

cudaError_t sparse_attention_mma(const SparseAttentionParams& params, cudaStream_t stream) {
  if (!sparse_attention_mma_applies(params)) return cudaErrorInvalidValue;
  if (params.value_width <= 2 * kWarps * 16) return launch<2>(params, stream);
  static_assert(8 * kWarps * 16 == kMostAttentionValueWidth);
  return launch<8>(params, stream);
}

}  // namespace indexcache::kernels
