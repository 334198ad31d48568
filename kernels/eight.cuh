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

}  // namespace indexcache::kernels
