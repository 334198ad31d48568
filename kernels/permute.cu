// SPDX-License-Identifier: Apache-2.0
#include "kernels/eight.cuh"
#include "kernels/permute.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 1024;

// Which of the row's choices is `expert`, or -1: a row names an expert at most once.
__device__ int find_choice(const PermuteParams& p, std::int64_t row, int expert) {
  for (int i = 0; i < p.used; ++i) {
    if (p.chosen[row * p.used + i] == expert) return i;
  }
  return -1;
}

// One block per expert.
__global__ void __launch_bounds__(kThreads) count_kernel(PermuteParams p) {
  const int expert = static_cast<int>(blockIdx.x);
  int count = 0;
  for (std::int64_t first = 0; first < p.rows; first += kThreads) {
    const std::int64_t row = first + threadIdx.x;
    count += __syncthreads_count(row < p.rows && find_choice(p, row, expert) >= 0);
  }
  if (threadIdx.x == 0) p.counts[expert] = count;
}

__global__ void __launch_bounds__(kThreads) place_kernel(PermuteParams p) {
  __shared__ int totals[kWarp];
  __shared__ int start;
  const int expert = static_cast<int>(blockIdx.x);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  if (warp == 0) {  // slots of the experts before this one
    int before = 0;
    for (int e = lane; e < expert; e += kWarp) before += p.counts[e];
    before = __reduce_add_sync(kAllLanes, before);
    if (lane == 0) start = before;
  }
  __syncthreads();
  int next = start;
  for (std::int64_t first = 0; first < p.rows; first += kThreads) {
    const std::int64_t row = first + threadIdx.x;
    const int choice = row < p.rows ? find_choice(p, row, expert) : -1;
    const unsigned here = __ballot_sync(kAllLanes, choice >= 0);
    __syncthreads();  // the last round's totals have been read
    if (lane == 0) totals[warp] = __popc(here);
    __syncthreads();
    int slot = next + __popc(here & ((1u << lane) - 1));
    int all = 0;
    for (int w = 0; w < kThreads / kWarp; ++w) {
      slot += w < warp ? totals[w] : 0;
      all += totals[w];
    }
    if (choice >= 0) p.slot_of[row * p.used + choice] = slot;
    next += all;
  }
}

// A block per row, which is read once; `stride` and `width` in pieces.
template <typename Piece>
__global__ void scatter_kernel(ScatterParams p, std::int64_t stride, int width) {
  const std::int64_t row = blockIdx.x;
  for (int c = static_cast<int>(threadIdx.x); c < width; c += static_cast<int>(blockDim.x)) {
    const Piece piece = static_cast<const Piece*>(p.x)[row * stride + c];
    for (int i = 0; i < p.used; ++i) {
      const std::int64_t slot = p.slot_of[row * p.used + i];
      static_cast<Piece*>(p.out)[slot * width + c] = piece;
    }
  }
}

template <typename Piece>
cudaError_t launch_scatter(const ScatterParams& p, std::int64_t row_bytes, std::int64_t width_bytes,
                           cudaStream_t stream) {
  constexpr auto kBytes = static_cast<std::int64_t>(sizeof(Piece));
  constexpr std::int64_t kMost = 256;
  const std::int64_t width = width_bytes / kBytes, threads = ceil_div(width, kWarp) * kWarp;
  scatter_kernel<Piece>
      <<<static_cast<unsigned>(p.rows), static_cast<unsigned>(threads < kMost ? threads : kMost), 0,
         stream>>>(p, row_bytes / kBytes, static_cast<int>(width));
  return cudaGetLastError();
}

template <typename T>
__global__ void combine_kernel(CombineParams p) {
  const std::int64_t row = blockIdx.x;
  float* out = p.out + row * p.out_stride;
  for (std::int64_t c = threadIdx.x; c < p.width; c += blockDim.x) {
    float value = out[c];
    for (int i = 0; i < p.used; ++i) {
      const std::int64_t slot = p.slot_of[row * p.used + i];
      value = fmaf(p.weights[row * p.used + i],
                   to_float(static_cast<const T*>(p.y)[slot * p.width + c]), value);
    }
    out[c] = value;
  }
}

template <typename T>
__global__ void combine_eight_kernel(CombineParams p) {
  const std::int64_t row = blockIdx.x;
  for (int c = static_cast<int>(threadIdx.x) * kEight; c < p.width;
       c += static_cast<int>(blockDim.x) * kEight) {
    float* const out = p.out + row * p.out_stride + c;
    float value[kEight];
    load_eight(value, out);
    for (int i = 0; i < p.used; ++i) {
      const std::int64_t slot = p.slot_of[row * p.used + i];
      const float weight = p.weights[row * p.used + i];
      float y[kEight];
      load_eight(y, static_cast<const T*>(p.y) + slot * p.width + c);
#pragma unroll
      for (int j = 0; j < kEight; ++j) value[j] = fmaf(weight, y[j], value[j]);
    }
    store_eight(out, value);
  }
}

}  // namespace

cudaError_t permute(const PermuteParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>(params.experts);
  count_kernel<<<blocks, kThreads, 0, stream>>>(params);
  place_kernel<<<blocks, kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

cudaError_t scatter(const ScatterParams& params, cudaStream_t stream) {
  if (params.rows == 0 || params.width == 0) return cudaSuccess;
  return with_float_type(params.type, [&](auto type) {
    using T = decltype(type);
    constexpr auto kBytes = static_cast<std::int64_t>(sizeof(T));
    const std::int64_t row_bytes = params.x_stride * kBytes, width_bytes = params.width * kBytes;
    if (whole_chunks(params.x, row_bytes) && whole_chunks(params.out, width_bytes)) {
      return launch_scatter<uint4>(params, row_bytes, width_bytes, stream);
    }
    return launch_scatter<T>(params, row_bytes, width_bytes, stream);
  });
}

cudaError_t combine(const CombineParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  const auto rows = static_cast<unsigned>(params.rows);
  return with_float_type(params.type, [&](auto type) {
    if (whole_eights(params.y, params.type, params.width, params.width) &&
        whole_eights(params.out, Type::f32, params.out_stride, params.width)) {
      combine_eight_kernel<decltype(type)><<<rows, 256, 0, stream>>>(params);
    } else {
      combine_kernel<decltype(type)><<<rows, 256, 0, stream>>>(params);
    }
    return cudaGetLastError();
  });
}

}  // namespace indexcache::kernels
