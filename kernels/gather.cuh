// SPDX-License-Identifier: Apache-2.0
// Products of gathered keys with the heads of one query, on CUDA cores.
#pragma once

#include "kernels/fma_tile.cuh"

namespace indexcache::kernels {

// Copies `count` numbers to shared memory as float32; a multiple of 4, 16-byte aligned there.
template <typename T>
__device__ inline void widen_to(float* to, const T* from, int count) {
  for (int i = 4 * static_cast<int>(threadIdx.x); i < count;
       i += 4 * static_cast<int>(blockDim.x)) {
    *reinterpret_cast<float4*>(to + i) = load_four(from + i);
  }
}

// products[h] = key . query head h, `pitch` floats apart, in ascending order of dimensions; heads
// from `heads` on repeat the last one.
template <int Heads, typename T>
__device__ inline void multiply_heads(float (&products)[Heads], const T* key, const float* queries,
                                      int pitch, int heads, int width) {
#pragma unroll
  for (float& product : products) product = 0;
  for (int d = 0; d < width; d += 4) {
    const float4 k = load_four(key + d);
#pragma unroll
    for (int h = 0; h < Heads; ++h) {
      const float4 q = load_four(queries + min(h, heads - 1) * pitch + d);
      float& product = products[h];
      product = fmaf(q.x, k.x, product);
      product = fmaf(q.y, k.y, product);
      product = fmaf(q.z, k.z, product);
      product = fmaf(q.w, k.w, product);
    }
  }
}

}  // namespace indexcache::kernels
