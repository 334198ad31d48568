// SPDX-License-Identifier: Apache-2.0
// Eight consecutive elements at a time, which is 16 bytes of bf16: a kernel that reads fewer per
// thread does not reach the bandwidth of memory.
#pragma once

#include "kernels/common.cuh"

namespace indexcache::kernels {

inline constexpr int kEight = 8;

// Whether rows of `width` elements, `stride` elements apart, consist of such groups.
inline bool whole_eights(const void* data, Type type, std::int64_t stride, std::int64_t width) {
  return whole_chunks(data, stride * (type == Type::f32 ? 4 : 2)) && width % kEight == 0;
}

template <typename T>
__device__ __forceinline__ void load_eight(float (&x)[kEight], const T* from) {
  constexpr int kLoads = kEight * static_cast<int>(sizeof(T)) / 16;
  uint4 raw[kLoads];
#pragma unroll
  for (int i = 0; i < kLoads; ++i) raw[i] = reinterpret_cast<const uint4*>(from)[i];
#pragma unroll
  for (int i = 0; i < kEight; ++i) x[i] = to_float(reinterpret_cast<const T*>(raw)[i]);
}

template <typename T>
__device__ __forceinline__ void store_eight(T* to, const float (&x)[kEight]) {
  constexpr int kStores = kEight * static_cast<int>(sizeof(T)) / 16;
  uint4 raw[kStores];
#pragma unroll
  for (int i = 0; i < kEight; ++i) reinterpret_cast<T*>(raw)[i] = from_float<T>(x[i]);
#pragma unroll
  for (int i = 0; i < kStores; ++i) reinterpret_cast<uint4*>(to)[i] = raw[i];
}

// Rounds to T, which is bf16 or float. Pairs, because one instruction rounds two numbers to bf16;
// one for each, which the compiler takes if they are not stored, takes several times as long.
template <typename T>
__device__ __forceinline__ void round_eight(float (&x)[kEight]) {
  if constexpr (sizeof(T) == sizeof(bf16)) {
#pragma unroll
    for (int i = 0; i < kEight; i += 2) {
      const __nv_bfloat162 pair = __floats2bfloat162_rn(x[i], x[i + 1]);
      x[i] = __low2float(pair);
      x[i + 1] = __high2float(pair);
    }
  }
}

}  // namespace indexcache::kernels
