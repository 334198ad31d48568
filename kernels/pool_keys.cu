// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/pool_keys.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 128;

__device__ float block_max(float x) {
  __shared__ float of_warps[kThreads / kWarp];
  x = warp_max(x);
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = x;
  __syncthreads();
  for (const float other : of_warps) x = fmaxf(x, other);
  return x;
}

// A block of threads has one block of keys.
template <typename T>
__global__ void __launch_bounds__(kThreads) pool_kernel(PoolKeysParams p) {
  extern __shared__ float means[];  // [width]
  const std::int64_t block = blockIdx.x;
  const T* keys = static_cast<const T*>(p.keys) + block * p.block * p.width;
  const float* scales = p.key_scales == nullptr ? nullptr : p.key_scales + block * p.block;
  float largest = 0;
  for (int d = static_cast<int>(threadIdx.x); d < p.width; d += kThreads) {
    float sum = 0;
    for (int u = 0; u < p.block; ++u) {
      const float key = to_float(keys[static_cast<std::int64_t>(u) * p.width + d]);
      sum += scales == nullptr ? key : key * scales[u];
    }
    means[d] = sum / static_cast<float>(p.block);
    largest = fmaxf(largest, fabsf(means[d]));
  }
  float scale = 1;
  if (p.mean_scales != nullptr) {
    scale = fmaxf(block_max(largest) / 448.0f, 1e-10f);
    if (threadIdx.x == 0) p.mean_scales[block] = scale;
  }
  T* out = static_cast<T*>(p.means) + block * p.width;
  for (int d = static_cast<int>(threadIdx.x); d < p.width; d += kThreads) {
    out[d] = from_float<T>(means[d] / scale);
  }
}

template <typename T>
cudaError_t launch(const PoolKeysParams& p, cudaStream_t stream) {
  pool_kernel<T><<<static_cast<unsigned>(p.blocks), kThreads,
                   static_cast<unsigned>(p.width) * sizeof(float), stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t pool_keys(const PoolKeysParams& params, cudaStream_t stream) {
  if (params.blocks == 0) return cudaSuccess;
  const bool scaled = params.type == Type::e4m3;
  if (params.block <= 0 || params.width <= 0 || params.width > kMostPooledWidth ||
      scaled != (params.key_scales != nullptr) || scaled != (params.mean_scales != nullptr)) {
    return cudaErrorInvalidValue;
  }
  if (scaled) return launch<__nv_fp8_e4m3>(params, stream);
  return with_float_type(params.type,
                         [&](auto type) { return launch<decltype(type)>(params, stream); });
}

}  // namespace indexcache::kernels
