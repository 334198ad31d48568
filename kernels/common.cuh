// SPDX-License-Identifier: Apache-2.0
// Conversions and reductions that several kernels share. Reductions have one fixed order.
#pragma once

#include "kernels/types.h"

#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

namespace indexcache::kernels {

using bf16 = __nv_bfloat16;

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

__host__ __device__ constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

__device__ inline float to_float(float x) {
  return x;
}
__device__ inline float to_float(bf16 x) {
  return __bfloat162float(x);
}
__device__ inline float to_float(__half x) {
  return __half2float(x);
}
__device__ inline float to_float(__nv_fp8_e4m3 x) {
  return static_cast<float>(x);
}

// A scale of eight bits (OCP MX): 2^(bits - 127), of which the last is NaN.
struct E8m0 {
  std::uint8_t bits;
};
__device__ inline float to_float(E8m0 x) {
  constexpr unsigned kSmallest = 0x00400000u, kNan = 0x7fc00000u;  // 2^-127 is subnormal
  if (x.bits == 0xff) return __uint_as_float(kNan);
  return __uint_as_float(x.bits == 0 ? kSmallest : unsigned{x.bits} << 23);
}

// Whether 16-byte accesses can read rows that are `stride_bytes` apart.
inline bool whole_chunks(const void* pointer, std::int64_t stride_bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0 && stride_bytes % 16 == 0;
}

// The same of 16-bit elements that are `stride` elements apart.
inline bool aligned(const void* pointer, std::int64_t stride) {
  return whole_chunks(pointer, stride * 2);
}

// The first of the ascending ends that is above a position.
__device__ inline int bucket_of(const std::int64_t* bucket_ends, int position) {
  int bucket = 0;
  while (position >= bucket_ends[bucket]) ++bucket;
  return bucket;
}

template <typename T>
__device__ inline T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline bf16 from_float<bf16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ inline __nv_fp8_e4m3 from_float<__nv_fp8_e4m3>(float x) {
  return __nv_fp8_e4m3(x);  // the nearest, ties to even, saturating
}

template <typename T>
__device__ inline T warp_sum(T x) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kAllLanes, x, offset);
  return x;
}

__device__ inline float warp_max(float x) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, offset));
  }
  return x;
}

// What all lanes of a warp have. The compiler does not know it of values that depend on memory or
// branches, and then computes operands of tensor cores in every lane, with registers that running
// products keep busy.
template <typename T>
__device__ T agreed(T x) {
  return __shfl_sync(kAllLanes, x, 0);
}

// Sum over the block, the same value in every thread: lanes in a butterfly, warps in order.
// `scratch` holds 32 floats of shared memory.
__device__ inline float block_sum(float x, float* scratch) {
  x = warp_sum(x);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = x;
  __syncthreads();
  float total = 0;
  for (unsigned warp = 0; warp < (blockDim.x + kWarp - 1) / kWarp; ++warp) total += scratch[warp];
  return total;
}

// Calls body with a value of the element type, so that `decltype` names it.
template <typename Body>
cudaError_t with_float_type(Type type, const Body& body) {
  switch (type) {
    case Type::f32:
      return body(float{});
    case Type::bf16:
      return body(bf16{});
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace indexcache::kernels
