// SPDX-License-Identifier: Apache-2.0
// All candidates on CUDA cores, any type and width, float32 throughout: tiles of 64 queries and
// 64 keys. Bound by FMAs, 2 per pair, head and dimension.
#include "kernels/fma_tile.cuh"
#include "kernels/mean_attention.h"

namespace indexcache::kernels {
namespace {

// Finite, so that the difference of two of them is a number.
constexpr float kLowest = -1e30f;

// A tile of queries and what they see.
struct Tile {
  KeySegment segment;
  int first_query, queries;
  std::int64_t row;  // of the first query
  int keys;          // of the last query
};

__device__ Tile tile_at(const MeanAttentionParams& p, unsigned tile, unsigned segment) {
  Tile t{};
  t.segment = p.segments[segment];
  t.first_query = static_cast<int>(tile) * kFmaTile;
  t.queries = min(kFmaTile, t.segment.rows - t.first_query);
  t.row = t.segment.first_row + t.first_query;
  t.keys = t.segment.candidates(t.first_query + t.queries - 1);
  return t;
}

// logits[i][j] of queries 4 y + i and keys `key` + 4 x + j.
template <typename T>
__device__ void score(const MeanAttentionParams& p, const Tile& tile, FmaRow* buffer, int head,
                      int key, float (&logits)[4][4]) {
  multiply_rows(
      buffer,
      static_cast<const T*>(p.queries) + tile.row * p.query_stride + head * p.query_head_stride,
      p.query_stride, tile.queries,
      static_cast<const T*>(p.keys) + (std::int64_t{tile.segment.key_base} + key) * p.key_stride,
      p.key_stride, tile.keys - key, p.width, logits);
}

// Block (tile of queries, head, segment).
template <typename T>
__global__ void __launch_bounds__(kFmaThreads) normalizers_kernel(MeanAttentionParams p) {
  __shared__ __align__(16) FmaRow buffer[kFmaTile];
  const Tile tile = tile_at(p, blockIdx.x, blockIdx.z);
  const int head = static_cast<int>(blockIdx.y);
  if (tile.queries <= 0) return;
  const int y = static_cast<int>(threadIdx.x) / 16 * 4, x = static_cast<int>(threadIdx.x) % 16 * 4;
  int candidates[4];
  for (int i = 0; i < 4; ++i) candidates[i] = tile.segment.candidates(tile.first_query + y + i);
  float peak[4], sum[4] = {};
  for (float& value : peak) value = kLowest;
  for (int key = 0; key < tile.keys; key += kFmaTile) {
    float logits[4][4];
    score<T>(p, tile, buffer, head, key, logits);
    for (int i = 0; i < 4; ++i) {
      float top = peak[i];
      for (int j = 0; j < 4; ++j) {
        logits[i][j] = key + x + j < candidates[i] ? p.scale * logits[i][j] : -INFINITY;
        top = fmaxf(top, logits[i][j]);
      }
      sum[i] *= expf(peak[i] - top);
      for (int j = 0; j < 4; ++j) sum[i] += expf(logits[i][j] - top);
      peak[i] = top;
    }
  }
  for (int i = 0; i < 4; ++i) {
    for (int lanes = 8; lanes > 0; lanes /= 2) {
      const float other_peak = __shfl_xor_sync(kAllLanes, peak[i], lanes);
      const float other_sum = __shfl_xor_sync(kAllLanes, sum[i], lanes);
      const float top = fmaxf(peak[i], other_peak);
      sum[i] = sum[i] * expf(peak[i] - top) + other_sum * expf(other_peak - top);
      peak[i] = top;
    }
    if (x == 0 && y + i < tile.queries) {
      p.scratch[(tile.row + y + i) * p.heads + head] = peak[i] + logf(sum[i]);
    }
  }
}

// Block (tile of keys, tile of queries, segment).
template <typename T>
__global__ void __launch_bounds__(kFmaThreads) mean_kernel(MeanAttentionParams p) {
  __shared__ __align__(16) FmaRow buffer[kFmaTile];
  const Tile tile = tile_at(p, blockIdx.y, blockIdx.z);
  const int key = static_cast<int>(blockIdx.x) * kFmaTile;
  if (tile.queries <= 0 || key >= tile.keys) return;
  const int y = static_cast<int>(threadIdx.x) / 16 * 4, x = static_cast<int>(threadIdx.x) % 16 * 4;
  float total[4][4] = {};
  for (int head = 0; head < p.heads; ++head) {
    float logits[4][4];
    score<T>(p, tile, buffer, head, key, logits);
    for (int i = 0; i < 4; ++i) {
      if (y + i >= tile.queries) break;
      const float normalizer = p.scratch[(tile.row + y + i) * p.heads + head];
      for (int j = 0; j < 4; ++j) total[i][j] += expf(p.scale * logits[i][j] - normalizer);
    }
  }
  const float factor = p.weight / static_cast<float>(p.heads);
  for (int i = 0; i < 4; ++i) {
    if (y + i >= tile.queries) break;
    float* out = p.sums + (tile.row + y + i) * p.sums_stride + key + x;
    const int candidates = tile.segment.candidates(tile.first_query + y + i);
    for (int j = 0; j < 4; ++j) {
      if (key + x + j < candidates) out[j] = fmaf(factor, total[i][j], out[j]);
    }
  }
}

template <typename T>
cudaError_t launch(const MeanAttentionParams& p, cudaStream_t stream) {
  const auto tiles = static_cast<unsigned>(ceil_div(p.most_rows, kFmaTile));
  const auto segments = static_cast<unsigned>(p.segment_count);
  normalizers_kernel<T>
      <<<dim3(tiles, static_cast<unsigned>(p.heads), segments), kFmaThreads, 0, stream>>>(p);
  const cudaError_t status = cudaGetLastError();
  if (status != cudaSuccess) return status;
  const auto key_tiles = static_cast<unsigned>(ceil_div(p.most_keys, kFmaTile));
  mean_kernel<T><<<dim3(key_tiles, tiles, segments), kFmaThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t mean_attention_general(const MeanAttentionParams& params, cudaStream_t stream) {
  return with_float_type(params.type,
                         [&](auto type) { return launch<decltype(type)>(params, stream); });
}

}  // namespace indexcache::kernels
