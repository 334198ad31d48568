// SPDX-License-Identifier: Apache-2.0
// float32 scores on CUDA cores: tiles of 128 queries and 128 keys, 8 x 8 products per thread, so
// that 16 shared-memory values feed 64 FMAs.
#include "kernels/common.cuh"
#include "kernels/indexer_logits.h"

namespace indexcache::kernels {
namespace {

constexpr int kTile = 128;  // queries and keys of a block
constexpr int kDepth = 32;  // dimensions in shared memory at a time
constexpr int kPitch = kTile + 4;
constexpr int kThreads = 256;

// Element [d][r] of a tile; rows from `count` on are zero.
__device__ void load_tile(float (&tile)[kDepth][kPitch], const float* source, std::int64_t stride,
                          int count, int depth) {
  for (int i = threadIdx.x; i < kTile * kDepth / 4; i += kThreads) {
    const int row = i / (kDepth / 4);
    const int d = i % (kDepth / 4) * 4;
    float4 four = {};
    if (row < count && d < depth) {
      four = *reinterpret_cast<const float4*>(source + row * stride + d);
    }
    tile[d][row] = four.x;
    tile[d + 1][row] = four.y;
    tile[d + 2][row] = four.z;
    tile[d + 3][row] = four.w;
  }
}

// Thread's i-th row or column of the tile: two groups of four neighbors.
__device__ int place(int thread, int i) {
  return (i / 4) * (kTile / 2) + thread * 4 + i % 4;
}

__device__ void multiply(const float (&q)[kDepth][kPitch], const float (&k)[kDepth][kPitch], int ty,
                         int tx, float (&sums)[8][8]) {
#pragma unroll 8
  for (int d = 0; d < kDepth; ++d) {
    float a[8], b[8];
    for (int half = 0; half < 2; ++half) {
      const float4 x = *reinterpret_cast<const float4*>(&q[d][half * kTile / 2 + ty * 4]);
      const float4 y = *reinterpret_cast<const float4*>(&k[d][half * kTile / 2 + tx * 4]);
      a[4 * half] = x.x, a[4 * half + 1] = x.y, a[4 * half + 2] = x.z, a[4 * half + 3] = x.w;
      b[4 * half] = y.x, b[4 * half + 1] = y.y, b[4 * half + 2] = y.z, b[4 * half + 3] = y.w;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
#pragma unroll
      for (int j = 0; j < 8; ++j) sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
    }
  }
}

__global__ void __launch_bounds__(kThreads) logits_f32_kernel(IndexerLogitsParams p) {
  __shared__ float q_tile[kDepth][kPitch];
  __shared__ float k_tile[kDepth][kPitch];
  __shared__ float weights[kTile];
  const KeySegment segment = p.segments[blockIdx.z];
  const int first_query = static_cast<int>(blockIdx.y) * kTile;
  const int first_key = static_cast<int>(blockIdx.x) * kTile;
  const int queries = min(kTile, segment.rows - first_query);
  const int keys = segment.candidates(first_query + queries - 1) - first_key;  // of the last query
  if (queries <= 0 || keys <= 0) return;
  const std::int64_t row = segment.first_row + first_query;
  const std::int64_t query_stride = std::int64_t{p.heads} * p.width;
  const float* k =
      static_cast<const float*>(p.keys) + (std::int64_t{segment.key_base} + first_key) * p.width;
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
  float total[8][8] = {};
  for (int head = 0; head < p.heads; ++head) {
    const float* q = static_cast<const float*>(p.queries) + row * query_stride + head * p.width;
    float sums[8][8] = {};
    for (int d = 0; d < p.width; d += kDepth) {
      __syncthreads();
      load_tile(q_tile, q + d, query_stride, queries, p.width - d);
      load_tile(k_tile, k + d, p.width, min(keys, kTile), p.width - d);
      if (d == 0 && threadIdx.x < kTile) {
        const int i = static_cast<int>(threadIdx.x);
        weights[i] = i < queries ? p.head_weights[(row + i) * p.heads + head] : 0.0f;
      }
      __syncthreads();
      multiply(q_tile, k_tile, ty, tx, sums);
    }
    for (int i = 0; i < 8; ++i) {
      const float weight = weights[place(ty, i)];
      for (int j = 0; j < 8; ++j) total[i][j] = fmaf(weight, fmaxf(sums[i][j], 0.0f), total[i][j]);
    }
  }
  for (int i = 0; i < 8; ++i) {
    const int query = place(ty, i);
    if (query >= queries) continue;
    const int candidates = segment.candidates(first_query + query);
    float* out = p.logits + (row + query) * p.logits_stride + first_key;
    for (int j = 0; j < 8; ++j) {
      const int key = place(tx, j);
      if (first_key + key < candidates) out[key] = total[i][j];
    }
  }
}

}  // namespace

cudaError_t indexer_logits_f32(const IndexerLogitsParams& params, cudaStream_t stream) {
  if (params.type != Type::f32 || params.width % kIndexUnit != 0) return cudaErrorInvalidValue;
  const dim3 grid(static_cast<unsigned>(ceil_div(params.most_keys, kTile)),
                  static_cast<unsigned>(ceil_div(params.most_rows, kTile)),
                  static_cast<unsigned>(params.segment_count));
  logits_f32_kernel<<<grid, kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
