// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/distill_rows.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 256;

__device__ float block_max(float x, float* scratch) {
  x = warp_max(x);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = x;
  __syncthreads();
  float top = scratch[0];
  for (int warp = 1; warp < kThreads / kWarp; ++warp) top = fmaxf(top, scratch[warp]);
  return top;
}

__global__ void __launch_bounds__(kThreads) distill_rows_kernel(DistillRowsParams p) {
  __shared__ float scratch[32];
  const std::int64_t row = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x);
  const int count = p.k > 0 ? p.k : p.places[row].candidates;
  float* scores = p.scores + row * p.stride;
  const float* targets = p.targets + row * p.target_stride;

  float top = -INFINITY;
  for (int i = thread; i < count; i += kThreads) top = fmaxf(top, p.score_scale * scores[i]);
  top = block_max(top, scratch);
  float sum = 0;
  for (int i = thread; i < count; i += kThreads) sum += expf(p.score_scale * scores[i] - top);
  sum = block_sum(sum, scratch);
  const float log_sum = logf(sum), inverse = 1.0f / sum;

  float divergence = 0;
  for (int i = thread; i < count; i += kThreads) {
    const float logit = p.score_scale * scores[i] - top;
    const float probability = p.target_scale * targets[i];
    if (probability > 0) divergence += probability * (logf(probability) - (logit - log_sum));
    scores[i] = p.gradient_scale * (expf(logit) * inverse - probability);
  }
  divergence = block_sum(divergence, scratch);
  if (thread == 0) p.divergences[row] = divergence;
  if (p.k > 0) return;
  const std::int64_t end = ((count - 1) / kDistillTile + 2) * kDistillTile;
  for (std::int64_t i = count + thread; i < min(end, p.stride); i += kThreads) scores[i] = 0;
}

}  // namespace

cudaError_t distill_rows(const DistillRowsParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  distill_rows_kernel<<<static_cast<unsigned>(params.rows), kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
