// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/cross_entropy.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 256;

// sum * exp(peak) is the sum of exponentials seen so far.
struct Partial {
  float peak = -INFINITY;
  float sum = 0;

  __device__ void add(float x) {
    if (x <= peak) {
      sum += expf(x - peak);
    } else {
      sum = sum * expf(peak - x) + 1.0f;
      peak = x;
    }
  }
};

__global__ void __launch_bounds__(kThreads) cross_entropy_kernel(CrossEntropyParams p) {
  __shared__ Partial partials[kThreads];
  const std::int64_t row = blockIdx.x;
  const std::int32_t target = p.targets[row];
  if (target < 0) {
    if (threadIdx.x == 0) p.losses[row] = 0;
    return;
  }
  const float* logits = p.logits + row * p.vocabulary;
  Partial partial;
  for (std::int64_t v = threadIdx.x; v < p.vocabulary; v += kThreads) partial.add(logits[v]);
  partials[threadIdx.x] = partial;
  __syncthreads();
  if (threadIdx.x >= kWarp) return;
  float peak = -INFINITY;
  for (int i = static_cast<int>(threadIdx.x); i < kThreads; i += kWarp) {
    peak = fmaxf(peak, partials[i].peak);
  }
  peak = warp_max(peak);
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < kThreads; i += kWarp) {
    if (partials[i].sum > 0) {
      sum +=
          static_cast<double>(partials[i].sum) * static_cast<double>(expf(partials[i].peak - peak));
    }
  }
  sum = warp_sum(sum);
  if (threadIdx.x == 0) {
    p.losses[row] = log(sum) - (static_cast<double>(logits[target]) - static_cast<double>(peak));
  }
}

__global__ void __launch_bounds__(kThreads) segment_sum_kernel(SegmentSumParams p) {
  __shared__ double sums[kThreads];
  const KeySegment segment = p.segments[blockIdx.x];
  double sum = 0;
  for (int row = static_cast<int>(threadIdx.x); row < segment.rows; row += kThreads) {
    sum += p.values[segment.first_row + row];
  }
  sums[threadIdx.x] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) p.sums[blockIdx.x] = sums[0];
}

}  // namespace

cudaError_t cross_entropy(const CrossEntropyParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  cross_entropy_kernel<<<static_cast<unsigned>(params.rows), kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

cudaError_t segment_sum(const SegmentSumParams& params, cudaStream_t stream) {
  if (params.segment_count == 0) return cudaSuccess;
  segment_sum_kernel<<<static_cast<unsigned>(params.segment_count), kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
