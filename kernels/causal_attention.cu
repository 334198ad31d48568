// SPDX-License-Identifier: Apache-2.0
// The general kernel: tiles of 64 queries of a head and 64 keys on CUDA cores, any type and width,
// float32 throughout. Bound by FMAs, one per pair, head and dimension of keys and values.
#include "kernels/causal_attention.h"
#include "kernels/fma_tile.cuh"

namespace indexcache::kernels {
namespace {

// Finite, so that the difference of two of them is a number.
constexpr float kLowest = -1e30f;

// 64 queries of one head, and where their keys and values begin.
template <typename T>
struct Tile {
  const T *queries, *nope, *rope, *values;
  int count;  // queries
  int keys;   // candidates of the last query
};

// scores[i][j] of queries 4 y + i and keys `key` + 4 x + j, not scaled.
template <typename T>
__device__ void score(const CausalAttentionParams& p, const Tile<T>& tile, FmaRow* buffer, int key,
                      float (&scores)[4][4]) {
  const int keys = tile.keys - key;
  float rotated[4][4];
  multiply_rows(buffer, tile.queries, p.query_stride, tile.count, tile.nope + key * p.nope_stride,
                p.nope_stride, keys, p.nope_width, scores);
  multiply_rows(buffer, tile.queries + p.nope_width, p.query_stride, tile.count,
                tile.rope + key * p.rope_stride, p.rope_stride, keys, p.rope_width, rotated);
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) scores[i][j] += rotated[i][j];
  }
}

// The running softmax of this thread's four queries, which 16 threads share.
struct Softmax {
  float peak[4], sum[4];

  // Scores become exponentials, 0 where the key is no candidate; shrink[i] is for earlier results.
  __device__ void update(float (&scores)[4][4], const int (&candidates)[4], int first_key,
                         float scale, float (&shrink)[4]) {
    for (int i = 0; i < 4; ++i) {
      float top = peak[i];
      for (int j = 0; j < 4; ++j) {
        scores[i][j] = first_key + j < candidates[i] ? scale * scores[i][j] : -INFINITY;
        top = fmaxf(top, scores[i][j]);
      }
      for (int lanes = 8; lanes > 0; lanes /= 2) {
        top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, lanes));
      }
      float total = 0;
      for (int j = 0; j < 4; ++j) total += scores[i][j] = expf(scores[i][j] - top);
      for (int lanes = 8; lanes > 0; lanes /= 2) {
        total += __shfl_xor_sync(kAllLanes, total, lanes);
      }
      shrink[i] = expf(peak[i] - top);
      sum[i] = sum[i] * shrink[i] + total;
      peak[i] = top;
    }
  }
};

// Rows of values, columns [column, column + kFmaTile), to shared memory; zeros where there are
// none.
template <typename T>
__device__ void load_values(FmaRow* tile, const T* source, std::int64_t stride, int keys,
                            int columns) {
  for (int i = static_cast<int>(threadIdx.x); i < kFmaTile * kFmaTile / 4; i += kFmaThreads) {
    const int key = i / (kFmaTile / 4), d = i % (kFmaTile / 4) * 4;
    float4 four = {};
    if (key < keys && d < columns) four = load_four(source + key * stride + d);
    *reinterpret_cast<float4*>(&tile[key][d]) = four;
  }
}

// Blocks: groups of kFmaTile value columns, of which a thread has four in each.
template <typename T, int Blocks>
__device__ void attend(const CausalAttentionParams& p, const Tile<T>& tile,
                       const int (&candidates)[4], Softmax& softmax, FmaRow* buffer,
                       FmaRow* weights, float (&out)[Blocks][4][4]) {
  const int y = static_cast<int>(threadIdx.x) / 16 * 4, x = static_cast<int>(threadIdx.x) % 16 * 4;
  for (int key = 0; key < tile.keys; key += kFmaTile) {
    float scores[4][4], shrink[4];
    score(p, tile, buffer, key, scores);
    softmax.update(scores, candidates, key + x, p.scale, shrink);
    __syncthreads();  // nobody multiplies by the weights of the tile before
    for (int j = 0; j < 4; ++j) {
      *reinterpret_cast<float4*>(&weights[x + j][y]) = {scores[0][j], scores[1][j], scores[2][j],
                                                        scores[3][j]};
    }
#pragma unroll
    for (int block = 0; block < Blocks; ++block) {
      __syncthreads();
      load_values(buffer, tile.values + key * p.value_stride + block * kFmaTile, p.value_stride,
                  tile.keys - key, p.value_width - block * kFmaTile);
      __syncthreads();
      for (int i = 0; i < 4; ++i) {
        for (float& value : out[block][i]) value *= shrink[i];
      }
      multiply_tiles<kFmaTile>(weights, buffer, out[block]);
    }
  }
}

// Block (tile of queries, head, segment); those with most keys come first.
template <typename T, int Blocks>
__global__ void __launch_bounds__(kFmaThreads) causal_kernel(CausalAttentionParams p) {
  __shared__ __align__(16) FmaRow buffer[kFmaTile];
  __shared__ __align__(16) FmaRow weights[kFmaTile];
  const KeySegment segment = p.segments[blockIdx.z];
  const int first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kFmaTile;
  const int head = static_cast<int>(blockIdx.y);
  const int count = min(kFmaTile, segment.rows - first);
  if (count <= 0) return;
  const std::int64_t row = segment.first_row + first, key_row = segment.key_base;
  const Tile<T> tile = {
      static_cast<const T*>(p.queries) + row * p.query_stride + head * p.query_head_stride,
      static_cast<const T*>(p.nope) + key_row * p.nope_stride + head * p.nope_head_stride,
      static_cast<const T*>(p.rope) + key_row * p.rope_stride,
      static_cast<const T*>(p.values) + key_row * p.value_stride + head * p.value_head_stride,
      count,
      segment.candidates(first + count - 1)};
  const int y = static_cast<int>(threadIdx.x) / 16 * 4, x = static_cast<int>(threadIdx.x) % 16 * 4;
  int candidates[4];
  Softmax softmax{};
  for (int i = 0; i < 4; ++i) {
    candidates[i] = segment.candidates(first + y + i);
    softmax.peak[i] = p.sinks == nullptr ? kLowest : p.sinks[head];
    softmax.sum[i] = p.sinks == nullptr ? 0.0f : 1.0f;
  }
  float out[Blocks][4][4] = {};
  attend(p, tile, candidates, softmax, buffer, weights, out);
  for (int i = 0; i < 4; ++i) {
    if (y + i >= count) break;
    const float factor = 1.0f / softmax.sum[i];
    T* to = static_cast<T*>(p.out) + (row + y + i) * p.out_stride + head * p.out_head_stride + x;
#pragma unroll
    for (int block = 0; block < Blocks; ++block) {
      if (block * kFmaTile + x >= p.value_width) break;  // whole fours
      for (int j = 0; j < 4; ++j) {
        to[block * kFmaTile + j] = from_float<T>(out[block][i][j] * factor);
      }
    }
  }
}

template <typename T, int Blocks>
cudaError_t launch(const CausalAttentionParams& p, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(ceil_div(p.most_rows, kFmaTile)),
                  static_cast<unsigned>(p.heads), static_cast<unsigned>(p.segment_count));
  causal_kernel<T, Blocks><<<grid, kFmaThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

bool fits(const CausalAttentionParams& p) {
  for (const std::int64_t number :
       {p.query_stride, p.query_head_stride, p.nope_stride, p.nope_head_stride, p.rope_stride,
        p.value_stride, p.value_head_stride, std::int64_t{p.nope_width}, std::int64_t{p.rope_width},
        std::int64_t{p.value_width}}) {
    if (number % kCausalUnit != 0) return false;
  }
  return p.nope_width + p.rope_width <= kMostCausalKeyWidth &&
         p.value_width <= kMostCausalValueWidth;
}

}  // namespace

cudaError_t causal_attention_general(const CausalAttentionParams& params, cudaStream_t stream) {
  if (!fits(params)) return cudaErrorInvalidValue;
  return with_float_type(params.type, [&](auto type) {
    using T = decltype(type);
    if (params.value_width <= kFmaTile) return launch<T, 1>(params, stream);
    if (params.value_width <= 2 * kFmaTile) return launch<T, 2>(params, stream);
    static_assert(4 * kFmaTile == kMostCausalValueWidth);
    return launch<T, 4>(params, stream);
  });
}

cudaError_t causal_attention(const CausalAttentionParams& params, cudaStream_t stream) {
  if (params.most_rows == 0 || params.heads == 0) return cudaSuccess;
  if (causal_attention_sm90_applies(params)) return causal_attention_sm90(params, stream);
  if (causal_attention_mma_applies(params)) return causal_attention_mma(params, stream);
  return causal_attention_general(params, stream);
}

}  // namespace indexcache::kernels
