// SPDX-License-Identifier: Apache-2.0
// float32 on CUDA cores: a block owns 64 queries of a head, or 64 keys, and 64 columns of their
// gradient, and walks over tiles of the other side. Wider gradients compute the products again for
// every 64 columns. 8 FMAs per pair, head and dimension, twice what the sums need.
#include "kernels/distill_rows.h"
#include "kernels/fma_tile.cuh"
#include "kernels/index_backward.h"
#include "kernels/indexer_logits.h"

namespace indexcache::kernels {
namespace {

static_assert(kFmaTile == kDistillTile);

struct Shared {
  alignas(16) FmaRow buffer[kFmaTile];
  alignas(16) FmaRow factors[kFmaTile];  // [summed, owned]
};

// Rows of the summed side, as [row][column]; what has no source is zero.
__device__ void load_columns(FmaRow* tile, const float* source, std::int64_t stride, int count,
                             int columns) {
  for (int i = static_cast<int>(threadIdx.x); i < kFmaTile * kFmaTile / 4; i += kFmaThreads) {
    const int row = i / (kFmaTile / 4), d = i % (kFmaTile / 4) * 4;
    float4 four = {};
    if (row < count && d < columns) four = load_four(source + row * stride + d);
    *reinterpret_cast<float4*>(&tile[row][d]) = four;
  }
}

// sums += factors^T x source
__device__ void add_factors(Shared& shared, const float* source, std::int64_t stride, int count,
                            int columns, float (&sums)[4][4]) {
  __syncthreads();  // the operands have been read, the factors written
  load_columns(shared.buffer, source, stride, count, columns);
  __syncthreads();
  multiply_tiles<kFmaTile>(shared.factors, shared.buffer, sums);
}

// Block (tile of queries and of columns, head, segment).
__global__ void __launch_bounds__(kFmaThreads) query_side_f32(IndexBackwardParams p, int cuts) {
  __shared__ Shared shared;
  const KeySegment segment = p.segments[blockIdx.z];
  const int first_query = static_cast<int>(blockIdx.x) / cuts * kFmaTile;
  const int column = static_cast<int>(blockIdx.x) % cuts * kFmaTile;
  const int head = static_cast<int>(blockIdx.y);
  const int queries = min(kFmaTile, segment.rows - first_query);
  if (queries <= 0) return;
  const int y = static_cast<int>(threadIdx.x) / 16 * 4, x = static_cast<int>(threadIdx.x) % 16 * 4;
  const int keys = segment.candidates(first_query + queries - 1);
  const std::int64_t row = segment.first_row + first_query;
  const std::int64_t query_stride = std::int64_t{p.heads} * p.width;
  const float* q = static_cast<const float*>(p.queries) + row * query_stride + head * p.width;
  const float* all_keys =
      static_cast<const float*>(p.keys) + std::int64_t{segment.key_base} * p.width;
  float weights[4], d_weights[4] = {}, sums[4][4] = {};
  for (int i = 0; i < 4; ++i) {
    weights[i] = y + i < queries ? p.head_weights[(row + y + i) * p.heads + head] : 0.0f;
  }
  for (int key = 0; key < keys; key += kFmaTile) {
    const float* k = all_keys + std::int64_t{key} * p.width;
    float products[4][4];
    multiply_rows(shared.buffer, q, query_stride, queries, k, p.width, keys - key, p.width,
                  products);
    for (int i = 0; i < 4; ++i) {
      float4 g = {};
      if (y + i < queries) g = load_four(p.score_gradients + (row + y + i) * p.stride + key + x);
      const float gradients[4] = {g.x, g.y, g.z, g.w};
      for (int j = 0; j < 4; ++j) {
        const bool on = products[i][j] > 0;
        shared.factors[x + j][y + i] = on ? weights[i] * gradients[j] : 0.0f;
        if (on) d_weights[i] = fmaf(gradients[j], products[i][j], d_weights[i]);
      }
    }
    add_factors(shared, k + column, p.width, keys - key, p.width - column, sums);
  }
  for (int i = 0; i < 4; ++i) {
    for (int lanes = 8; lanes > 0; lanes /= 2) {
      d_weights[i] += __shfl_xor_sync(kAllLanes, d_weights[i], lanes);
    }
    if (y + i >= queries) continue;
    if (x == 0 && column == 0) p.d_head_weights[(row + y + i) * p.heads + head] = d_weights[i];
    float* out = p.d_queries + (row + y + i) * query_stride + head * p.width + column;
    for (int j = 0; j < 4; ++j) {
      if (x + j < p.width - column) out[x + j] = sums[i][j];
    }
  }
}

// Block (tile of keys, tile of columns, segment).
__global__ void __launch_bounds__(kFmaThreads) key_side_f32(IndexBackwardParams p) {
  __shared__ Shared shared;
  const KeySegment segment = p.segments[blockIdx.z];
  const int first_key = static_cast<int>(blockIdx.x) * kFmaTile;
  const int column = static_cast<int>(blockIdx.y) * kFmaTile;
  const int keys = segment.candidates(segment.rows - 1) - first_key;  // of the last query
  if (keys <= 0) return;
  const int y = static_cast<int>(threadIdx.x) / 16 * 4, x = static_cast<int>(threadIdx.x) % 16 * 4;
  const std::int64_t key_row = std::int64_t{segment.key_base} + first_key;
  const std::int64_t query_stride = std::int64_t{p.heads} * p.width;
  const float* k = static_cast<const float*>(p.keys) + key_row * p.width;
  float sums[4][4] = {};
  const auto gradient = [&](int i, int j) {
    return p.d_keys + (key_row + y + i) * p.width + column + x + j;
  };
  const auto exists = [&](int i, int j) { return y + i < keys && x + j < p.width - column; };
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      if (exists(i, j)) sums[i][j] = *gradient(i, j);
    }
  }
  const int seeing = max(0, segment.first_seeing(first_key));  // the first query that does
  for (int tile = seeing / kFmaTile * kFmaTile; tile < segment.rows; tile += kFmaTile) {
    const int queries = segment.rows - tile;
    const std::int64_t row = segment.first_row + tile;
    for (int head = 0; head < p.heads; ++head) {
      const float* q = static_cast<const float*>(p.queries) + row * query_stride + head * p.width;
      float products[4][4];
      multiply_rows(shared.buffer, k, p.width, keys, q, query_stride, queries, p.width, products);
      for (int j = 0; j < 4; ++j) {
        const std::int64_t query = row + x + j;
        const bool present = x + j < queries;
        const float weight = present ? p.head_weights[query * p.heads + head] : 0.0f;
        float4 g = {};
        if (present) g = load_four(p.score_gradients + query * p.stride + first_key + y);
        const float gradients[4] = {g.x, g.y, g.z, g.w};
        for (int i = 0; i < 4; ++i) {
          shared.factors[x + j][y + i] = products[i][j] > 0 ? weight * gradients[i] : 0.0f;
        }
      }
      add_factors(shared, q + column, query_stride, queries, p.width - column, sums);
    }
  }
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      if (exists(i, j)) *gradient(i, j) = sums[i][j];
    }
  }
}

}  // namespace

cudaError_t index_backward_f32(const IndexBackwardParams& p, cudaStream_t stream) {
  if (p.type != Type::f32 || p.width % kIndexUnit != 0) return cudaErrorInvalidValue;
  const auto cuts = static_cast<int>(ceil_div(p.width, kFmaTile));
  const auto segments = static_cast<unsigned>(p.segment_count);
  const dim3 queries(static_cast<unsigned>(ceil_div(p.most_rows, kFmaTile) * cuts),
                     static_cast<unsigned>(p.heads), segments);
  query_side_f32<<<queries, kFmaThreads, 0, stream>>>(p, cuts);
  const cudaError_t status = cudaGetLastError();
  if (status != cudaSuccess || p.most_keys == 0) return status;
  const dim3 keys(static_cast<unsigned>(ceil_div(p.most_keys, kFmaTile)),
                  static_cast<unsigned>(cuts), segments);
  key_side_f32<<<keys, kFmaThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
