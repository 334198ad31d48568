// SPDX-License-Identifier: Apache-2.0
// The general kernel: a block of 128 threads owns one query and a group of its heads and walks over
// the selected rows with a running softmax. Scores: a thread holds one key and four heads, so that
// a value of the key is read once for four products. Values: a thread holds columns and all heads
// of the group.
#include "kernels/attention_keys.cuh"
#include "kernels/attention_sinks.cuh"
#include "kernels/mma.cuh"
#include "kernels/sparse_attention.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kHeadsPerThread = 4;

// Keys: rows in shared memory at a time. Columns: value columns of a thread.
template <int Keys, int Columns>
struct Tiling {
  static constexpr int kHeads = kThreads / Keys * kHeadsPerThread;  // of a block
  static int key_pitch(int width) { return width + 4; }
  static std::size_t bytes(int width) {
    return static_cast<std::size_t>(Keys * key_pitch(width) + kHeads * width + kHeads * Keys +
                                    3 * kHeads + Keys) *
           sizeof(float);
  }
};

// The shared memory of a block.
struct Buffers {
  float* keys;                 // [Keys, pitch]
  float* queries;              // [kHeads, width], times the scale
  float* scores;               // [Keys, kHeads]
  float *peak, *sum, *shrink;  // [kHeads]
  int* numbers;                // [Keys] keys of the tile (attention_keys.cuh)
  int pitch;
};

// Four neighbors, from an address of whole fours to shared memory; zeros if there is no source.
// float32 goes asynchronously, so that a thread has all of its rows under way at once.
__device__ void load_four(float* to, const float* from, bool present) {
  copy_async(shared_address(to), from, present);
}
__device__ void load_four(float* to, const bf16* from, bool present) {
  uint2 bits = {};
  if (present) bits = *reinterpret_cast<const uint2*>(from);
  *reinterpret_cast<float4*>(to) = {
      __uint_as_float(bits.x << 16), __uint_as_float(bits.x & 0xffff0000u),
      __uint_as_float(bits.y << 16), __uint_as_float(bits.y & 0xffff0000u)};
}

template <typename T, int Keys>
__device__ void load_keys(const SparseAttentionParams& p, const Buffers& shared,
                          const KeyList& list, int first) {
  const int quads = p.key_width / 4;
  for (int key = static_cast<int>(threadIdx.x); key < Keys; key += kThreads) {
    shared.numbers[key] = list.key(first + key);
  }
  __syncthreads();
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < Keys * quads; i += kThreads) {
    const int key = i / quads, d = i % quads * 4;
    const int number = shared.numbers[key];
    const bool present = number != kNoKey;
    load_four(shared.keys + key * shared.pitch + d,
              key_row<T>(p, present ? number : shared.numbers[0]) + d, present);
  }
  copy_async_commit();
  copy_async_wait<0>();
}

// scores[key, head] of this thread's key and heads; keys that are not there get -inf.
template <int Keys, int Heads>
__device__ void score(const SparseAttentionParams& p, const Buffers& shared, int valid) {
  const int key = static_cast<int>(threadIdx.x) % Keys;
  const int head = static_cast<int>(threadIdx.x) / Keys * kHeadsPerThread;
  const float* k = shared.keys + key * shared.pitch;
  const float* q = shared.queries + head * p.key_width;
  float sums[kHeadsPerThread] = {};
  for (int d = 0; d < p.key_width; d += 4) {
    const float4 x = *reinterpret_cast<const float4*>(k + d);
#pragma unroll
    for (int h = 0; h < kHeadsPerThread; ++h) {
      const float4 y = *reinterpret_cast<const float4*>(q + h * p.key_width + d);
      sums[h] = fmaf(x.x, y.x, sums[h]);
      sums[h] = fmaf(x.y, y.y, sums[h]);
      sums[h] = fmaf(x.z, y.z, sums[h]);
      sums[h] = fmaf(x.w, y.w, sums[h]);
    }
  }
#pragma unroll
  for (int h = 0; h < kHeadsPerThread; ++h) {
    shared.scores[key * Heads + head + h] = key < valid ? sums[h] : -INFINITY;
  }
}

// Running softmax of the tile, one warp per head.
template <int Keys, int Heads>
__device__ void exponentiate(const Buffers& shared) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int head = static_cast<int>(threadIdx.x) / kWarp; head < Heads; head += kThreads / kWarp) {
    float top = shared.peak[head];
    for (int key = lane; key < Keys; key += kWarp) {
      top = fmaxf(top, shared.scores[key * Heads + head]);
    }
    top = warp_max(top);
    float sum = 0;
    for (int key = lane; key < Keys; key += kWarp) {
      float& value = shared.scores[key * Heads + head];
      value = expf(value - top);
      sum += value;
    }
    sum = warp_sum(sum);
    if (lane == 0) {
      const float shrink = expf(shared.peak[head] - top);
      shared.shrink[head] = shrink;
      shared.sum[head] = shared.sum[head] * shrink + sum;
      shared.peak[head] = top;
    }
  }
}

template <int Keys, int Columns, int Heads>
__device__ void add_values(const SparseAttentionParams& p, const Buffers& shared,
                           float (&out)[Heads][Columns]) {
#pragma unroll
  for (int h = 0; h < Heads; ++h) {
    for (int c = 0; c < Columns; ++c) out[h][c] *= shared.shrink[h];
  }
#pragma unroll 4
  for (int key = 0; key < Keys; ++key) {
    float values[Columns];
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      const int column = static_cast<int>(threadIdx.x) + c * kThreads;
      values[c] = column < p.value_width ? shared.keys[key * shared.pitch + column] : 0.0f;
    }
#pragma unroll
    for (int h = 0; h < Heads; h += 4) {
      const float4 four = *reinterpret_cast<const float4*>(shared.scores + key * Heads + h);
      const float weights[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int c = 0; c < Columns; ++c) {
          out[h + j][c] = fmaf(weights[j], values[c], out[h + j][c]);
        }
      }
    }
  }
}

template <typename T, int Keys, int Columns>
__global__ void __launch_bounds__(kThreads) attention_kernel(SparseAttentionParams p) {
  constexpr int kHeads = Tiling<Keys, Columns>::kHeads;
  extern __shared__ __align__(16) float memory[];
  Buffers shared{};
  shared.pitch = p.key_width + 4;
  shared.keys = memory;
  shared.queries = shared.keys + Keys * shared.pitch;
  shared.scores = shared.queries + kHeads * p.key_width;
  shared.peak = shared.scores + Keys * kHeads;
  shared.sum = shared.peak + kHeads;
  shared.shrink = shared.sum + kHeads;
  shared.numbers = reinterpret_cast<int*>(shared.shrink + kHeads);

  const std::int64_t row = blockIdx.x;
  const int first_head = static_cast<int>(blockIdx.y) * kHeads;
  const KeyList list(p, row);
  for (int i = static_cast<int>(threadIdx.x); i < kHeads * p.key_width; i += kThreads) {
    const int head = first_head + i / p.key_width;
    const T* source = static_cast<const T*>(p.queries) + row * p.query_stride +
                      head * p.query_head_stride + i % p.key_width;
    shared.queries[i] = head < p.heads ? to_float(*source) * p.scale : 0.0f;
  }
  for (int h = static_cast<int>(threadIdx.x); h < kHeads; h += kThreads) {
    shared.peak[h] = first_peak(p, first_head + h);
    shared.sum[h] = first_sum(p, first_head + h);
  }
  float out[kHeads][Columns] = {};
  for (int first = 0; first < list.count; first += Keys) {
    __syncthreads();
    load_keys<T, Keys>(p, shared, list, first);
    __syncthreads();
    score<Keys, kHeads>(p, shared, list.count - first);
    __syncthreads();
    exponentiate<Keys, kHeads>(shared);
    __syncthreads();
    add_values<Keys, Columns, kHeads>(p, shared, out);
  }
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    if (first_head + h >= p.heads) break;
    const float factor = 1.0f / shared.sum[h];
    T* to = static_cast<T*>(p.out) + row * p.out_stride + (first_head + h) * p.out_head_stride;
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      const int column = static_cast<int>(threadIdx.x) + c * kThreads;
      if (column < p.value_width) to[column] = from_float<T>(out[h][c] * factor);
    }
  }
}

template <typename T, int Keys, int Columns>
cudaError_t launch(const SparseAttentionParams& p, cudaStream_t stream) {
  using Shape = Tiling<Keys, Columns>;
  const auto kernel = attention_kernel<T, Keys, Columns>;
  const std::size_t bytes = Shape::bytes(p.key_width);
  const cudaError_t status = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (status != cudaSuccess) return status;
  const dim3 grid(static_cast<unsigned>(p.rows),
                  static_cast<unsigned>(ceil_div(p.heads, Shape::kHeads)));
  kernel<<<grid, kThreads, bytes, stream>>>(p);
  return cudaGetLastError();
}

// Packs, and what is in none.
cudaError_t packed_attention(const SparseAttentionParams& params, cudaStream_t stream) {
  if (!sparse_attention_few_sm90_applies(params)) return sparse_attention_mma(params, stream);
  const cudaError_t status = sparse_attention_packs_sm90(params, stream);
  return status != cudaSuccess ? status : sparse_attention_few_sm90(params, stream);
}

}  // namespace

cudaError_t sparse_attention_general(const SparseAttentionParams& params, cudaStream_t stream) {
  if (params.key_width % kAttentionKeyUnit != 0 || params.key_stride % kAttentionKeyUnit != 0 ||
      params.recent_stride % kAttentionKeyUnit != 0 || params.key_width > kMostAttentionKeyWidth ||
      params.value_width > kMostAttentionValueWidth || params.value_width > params.key_width) {
    return cudaErrorInvalidValue;
  }
  return with_float_type(params.type, [&](auto type) {
    using T = decltype(type);
    if (params.key_width <= 128) return launch<T, 128, 1>(params, stream);
    static_assert(4 * kThreads == kMostAttentionValueWidth);
    return launch<T, 32, 4>(params, stream);
  });
}

PackedSets packing_of(const SparseAttentionParams& p) {
  PackedSets packing;
  const auto fill = [&](int tile_rows) {
    const int fitting = tile_rows / p.heads;
    packing.queries = fitting < kMostPackQueries ? fitting : kMostPackQueries;
  };
  if (p.heads == 0 || p.recent != nullptr) return packing;
  if (sparse_attention_few_sm90_applies(p)) {
    if (!heads_follow(p)) return packing;
    fill(kSm90TileHeads);
    // A key costs a tile of 64 heads 1.3 times what it costs one of 24.
    packing.keys_per_query = 2 * p.k / 3;
  } else if (sparse_attention_mma_applies(p) && p.heads <= kMmaTileRows / 2) {
    fill(kMmaTileRows);
    packing.keys_per_query = p.k;  // one query fills a tile as well as several
  }
  return packing;
}

cudaError_t sparse_attention(const SparseAttentionParams& params, cudaStream_t stream) {
  if (params.rows == 0 || params.heads == 0) return cudaSuccess;
  if (params.packed.queries > 0) return packed_attention(params, stream);
  if (sparse_attention_few_sm90_applies(params)) return sparse_attention_few_sm90(params, stream);
  if (sparse_attention_sm90_applies(params)) return sparse_attention_sm90(params, stream);
  if (sparse_attention_mma_applies(params)) return sparse_attention_mma(params, stream);
  return sparse_attention_general(params, stream);
}

}  // namespace indexcache::kernels
