// SPDX-License-Identifier: Apache-2.0
// Attention over sets on CUDA cores, float32 throughout: logits of all heads to scratch, one
// candidate per thread and eight heads at a time, then a block per row adds the softmaxes.
#include "kernels/gather.cuh"
#include "kernels/mean_attention.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kHeads = 8;  // at a time

// Block (row, candidates).
template <typename T>
__global__ void __launch_bounds__(kThreads) logits_kernel(MeanAttentionParams p) {
  extern __shared__ __align__(16) float queries[];  // [kHeads, width]
  const std::int64_t row = blockIdx.x;
  const int i = static_cast<int>(blockIdx.y * kThreads + threadIdx.x);
  const int candidate = p.sets[row * p.sets_stride + min(i, p.k - 1)];
  const T* key = static_cast<const T*>(p.keys) +
                 (std::int64_t{p.places[row].key_base} + candidate) * p.key_stride;
  for (int first = 0; first < p.heads; first += kHeads) {
    const int heads = min(kHeads, p.heads - first);
    __syncthreads();
    for (int h = 0; h < heads; ++h) {
      widen_to(queries + h * p.width,
               static_cast<const T*>(p.queries) + row * p.query_stride +
                   (first + h) * p.query_head_stride,
               p.width);
    }
    __syncthreads();
    float products[kHeads];
    multiply_heads(products, key, queries, p.width, heads, p.width);
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      if (h >= heads || i >= p.k) break;
      p.scratch[(row * p.heads + first + h) * p.k + i] = p.scale * products[h];
    }
  }
}

// Block: a row. A warp takes a head at a time, then a thread a candidate.
__global__ void __launch_bounds__(kThreads) add_softmaxes_kernel(MeanAttentionParams p) {
  extern __shared__ __align__(16) float normalizers[];  // [heads]
  const std::int64_t row = blockIdx.x;
  const float* logits = p.scratch + row * p.heads * p.k;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int h = static_cast<int>(threadIdx.x) / kWarp; h < p.heads; h += kThreads / kWarp) {
    const float* of_head = logits + std::int64_t{h} * p.k;
    float top = -INFINITY, sum = 0;
    for (int i = lane; i < p.k; i += kWarp) top = fmaxf(top, of_head[i]);
    top = warp_max(top);
    for (int i = lane; i < p.k; i += kWarp) sum += expf(of_head[i] - top);
    sum = warp_sum(sum);
    if (lane == 0) normalizers[h] = top + logf(sum);
  }
  __syncthreads();
  const float factor = p.weight / static_cast<float>(p.heads);
  for (int i = static_cast<int>(threadIdx.x); i < p.k; i += kThreads) {
    float total = 0;
    for (int h = 0; h < p.heads; ++h) {
      total += expf(logits[std::int64_t{h} * p.k + i] - normalizers[h]);
    }
    float& out = p.sums[row * p.sums_stride + i];
    out = fmaf(factor, total, out);
  }
}

template <typename T>
cudaError_t launch(const MeanAttentionParams& p, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(p.rows), static_cast<unsigned>(ceil_div(p.k, kThreads)));
  const std::size_t bytes = static_cast<std::size_t>(kHeads * p.width) * sizeof(float);
  logits_kernel<T><<<grid, kThreads, bytes, stream>>>(p);
  const cudaError_t status = cudaGetLastError();
  if (status != cudaSuccess) return status;
  // Whole vectors of four, as the compiler reads them.
  const std::size_t normalizers = static_cast<std::size_t>(ceil_div(p.heads, 4)) * 4;
  add_softmaxes_kernel<<<static_cast<unsigned>(p.rows), kThreads, normalizers * sizeof(float),
                         stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t mean_attention_gather(const MeanAttentionParams& params, cudaStream_t stream) {
  if (params.k <= 0 || params.width > kMostMeanAttentionGatherWidth) return cudaErrorInvalidValue;
  return with_float_type(params.type,
                         [&](auto type) { return launch<decltype(type)>(params, stream); });
}

}  // namespace indexcache::kernels
