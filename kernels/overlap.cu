// SPDX-License-Identifier: Apache-2.0
#include "kernels/architecture.h"
#include "kernels/common.cuh"
#include "kernels/overlap.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 512;
constexpr int kSide = 4;  // layers of a tile, in both directions

struct Window {
  int padded;  // layers rounded up to kSide
  int words;   // of a window, for each layer
  std::size_t bytes;
};

Window window_of(const OverlapParams& p) {
  Window window{};
  window.padded = static_cast<int>(ceil_div(p.layers, kSide)) * kSide;
  const int needed = static_cast<int>(ceil_div(p.longest, 32));
  const int counters = window.padded * window.padded * static_cast<int>(sizeof(unsigned));
  const int room =
      (most_shared_bytes() - counters) / static_cast<int>(sizeof(unsigned)) / window.padded;
  window.words = needed < room ? needed : room;
  window.bytes = static_cast<std::size_t>(counters) +
                 sizeof(unsigned) * static_cast<std::size_t>(window.padded * window.words);
  return window;
}

__device__ int bucket_of(const OverlapParams& p, int position) {
  int bucket = 0;
  while (position >= p.bucket_ends[bucket]) ++bucket;
  return bucket;
}

// Bits of positions [first, first + 32 * words) of every layer's set.
__device__ void fill(const OverlapParams& p, std::int64_t row, int first, int words,
                     unsigned* bitmaps, int padded) {
  for (int i = static_cast<int>(threadIdx.x); i < padded * words; i += kThreads) bitmaps[i] = 0;
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < p.layers * p.k; i += kThreads) {
    const int layer = i / p.k;
    const int position = p.sets[layer][row * p.sets_stride + i % p.k] - first;
    if (position < 0 || position >= 32 * words) continue;
    atomicOr(&bitmaps[layer * words + position / 32], 1u << (position % 32));
  }
  __syncthreads();
}

// Adds the intersections of layers [i, i + 4) and [j, j + 4); one warp.
__device__ void count_tile(const unsigned* bitmaps, int words, int i, int j, int padded,
                           unsigned* counters) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  unsigned sums[kSide][kSide] = {};
  for (int w = lane; w < words; w += kWarp) {
    unsigned a[kSide], b[kSide];
#pragma unroll
    for (int n = 0; n < kSide; ++n) {
      a[n] = bitmaps[(i + n) * words + w];
      b[n] = bitmaps[(j + n) * words + w];
    }
#pragma unroll
    for (int m = 0; m < kSide; ++m) {
#pragma unroll
      for (int n = 0; n < kSide; ++n) sums[m][n] += __popc(a[m] & b[n]);
    }
  }
#pragma unroll
  for (int m = 0; m < kSide; ++m) {
#pragma unroll
    for (int n = 0; n < kSide; ++n) {
      const unsigned sum = __reduce_add_sync(kAllLanes, sums[m][n]);
      if (lane == 0) counters[(i + m) * padded + j + n] += sum;  // only this warp's tile
    }
  }
}

__device__ void flush(const OverlapParams& p, int bucket, unsigned* counters, int padded) {
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < padded * padded; i += kThreads) {
    const int a = i / padded, b = i % padded;
    if (a < p.layers && b < p.layers && a <= b && counters[i] != 0) {
      atomicAdd(&p.counts[(std::int64_t{bucket} * p.layers + a) * p.layers + b],
                static_cast<unsigned long long>(counters[i]));
    }
    counters[i] = 0;
  }
  __syncthreads();
}

__global__ void __launch_bounds__(kThreads) overlap_kernel(OverlapParams p, int padded, int words) {
  extern __shared__ unsigned memory[];
  unsigned* counters = memory;
  unsigned* bitmaps = memory + padded * padded;
  for (int i = static_cast<int>(threadIdx.x); i < padded * padded; i += kThreads) counters[i] = 0;
  const std::int64_t each = ceil_div(p.rows, gridDim.x);
  const std::int64_t first_row = each * blockIdx.x;
  const std::int64_t last_row = first_row + each < p.rows ? first_row + each : p.rows;
  const int blocks = padded / kSide;
  int bucket = -1;
  for (std::int64_t row = first_row; row < last_row; ++row) {
    const int position = p.places[row].position;
    const int own = bucket_of(p, position);
    if (own != bucket && bucket >= 0) flush(p, bucket, counters, padded);
    bucket = own;
    for (int first = 0; first <= position; first += 32 * words) {
      const int used = min(words, static_cast<int>(ceil_div(position + 1 - first, 32)));
      fill(p, row, first, used, bitmaps, padded);
      int tile = 0;
      for (int i = 0; i < blocks; ++i) {
        for (int j = i; j < blocks; ++j, ++tile) {
          if (tile % (kThreads / kWarp) != static_cast<int>(threadIdx.x) / kWarp) continue;
          count_tile(bitmaps, used, i * kSide, j * kSide, padded, counters);
        }
      }
      __syncthreads();
    }
  }
  if (bucket >= 0) flush(p, bucket, counters, padded);
}

}  // namespace

cudaError_t overlap(const OverlapParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  if (params.layers > kMostOverlapLayers) return cudaErrorInvalidValue;
  const Window window = window_of(params);
  const cudaError_t status = cudaFuncSetAttribute(
      overlap_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(window.bytes));
  if (status != cudaSuccess) return status;
  const std::int64_t resident = 2ll * multiprocessors();
  const std::int64_t blocks = params.rows < resident * 8 ? params.rows : resident * 8;
  overlap_kernel<<<static_cast<unsigned>(blocks), kThreads, window.bytes, stream>>>(
      params, window.padded, window.words);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
