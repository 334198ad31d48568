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
    if (choice >= 0) {
      p.row_of_slot[slot] = static_cast<int>(row);
      p.slot_of[row * p.used + choice] = slot;
    }
    next += all;
  }
}

template <typename T>
__global__ void gather_kernel(GatherParams p) {
  const std::int64_t slot = blockIdx.x;
  const T* x = static_cast<const T*>(p.x) + p.row_of_slot[slot] * p.x_stride;
  T* out = static_cast<T*>(p.out) + slot * p.width;
  for (std::int64_t c = threadIdx.x; c < p.width; c += blockDim.x) out[c] = x[c];
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

cudaError_t gather(const GatherParams& params, cudaStream_t stream) {
  if (params.slots == 0) return cudaSuccess;
  return with_float_type(params.type, [&](auto type) {
    gather_kernel<decltype(type)><<<static_cast<unsigned>(params.slots), 256, 0, stream>>>(params);
    return cudaGetLastError();
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
