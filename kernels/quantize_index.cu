// SPDX-License-Identifier: Apache-2.0
#include "kernels/eight.cuh"
#include "kernels/quantize_index.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 256;

// Element kEight * lane + i of the vector of `Lanes` neighboring lanes is values[i]. Pairs whose
// numbers differ in bit 0 first, then in bit 1, and so on.
template <int Lanes>
__device__ void hadamard(float (&values)[kEight]) {
#pragma unroll
  for (int step = 1; step < kEight; step *= 2) {
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      if ((i & step) != 0) continue;
      const float a = values[i], b = values[i + step];
      values[i] = a + b;
      values[i + step] = a - b;
    }
  }
#pragma unroll
  for (int step = 1; step < Lanes; step *= 2) {
    const float sign = (threadIdx.x & static_cast<unsigned>(step)) != 0 ? -1.0f : 1.0f;
#pragma unroll
    for (float& value : values) {
      value = fmaf(sign, value, __shfl_xor_sync(kAllLanes, value, step));
    }
  }
}

// Of `Lanes` neighboring lanes.
template <int Lanes>
__device__ float group_max(float x) {
#pragma unroll
  for (int step = 1; step < Lanes; step *= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, step));
  return x;
}

// Eight numbers as bytes of e4m3, clamped.
__device__ uint2 packed_e4m3(const float (&values)[kEight], float factor) {
  std::uint32_t halves[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    halves[i] = __nv_cvt_float2_to_fp8x2({values[2 * i] * factor, values[2 * i + 1] * factor},
                                         __NV_SATFINITE, __NV_E4M3);
  }
  return {halves[0] | halves[1] << 16, halves[2] | halves[3] << 16};
}

// The smallest power of two that is at least x: exact by bits.
__device__ float power_of_two_above(float x) {
  const std::uint32_t bits = __float_as_uint(x);
  const std::uint32_t exponent = bits >> 23;
  return __uint_as_float((exponent + ((bits & 0x7fffffu) != 0 ? 1 : 0)) << 23);
}

// `Lanes` lanes have one vector.
template <typename T, int Lanes>
__global__ void __launch_bounds__(kThreads)
    quantize_index_kernel(QuantizeIndexParams p, float norm) {
  const std::int64_t lane = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  // Lanes beyond the end take part in shuffles with the last vector.
  const std::int64_t vector = min(lane / Lanes, p.vectors - 1);
  const std::int64_t first = vector * p.width + lane % Lanes * kEight;
  float values[kEight];
  load_eight(values, static_cast<const T*>(p.x) + first);
  if constexpr (sizeof(T) == sizeof(float)) round_eight<bf16>(values);
  hadamard<Lanes>(values);
#pragma unroll
  for (float& value : values) value *= norm;
  round_eight<bf16>(values);
  float largest = 1e-4f;
#pragma unroll
  for (const float value : values) largest = fmaxf(largest, fabsf(value));
  const float scale = power_of_two_above(group_max<Lanes>(largest) / 448.0f);
  if (lane / Lanes >= p.vectors) return;
  // The inverse of a power of two is exact.
  *reinterpret_cast<uint2*>(static_cast<char*>(p.out) + first) = packed_e4m3(values, 1.0f / scale);
  if (lane % Lanes == 0) p.scales[vector] = scale;
}

__global__ void scale_heads_kernel(ScaleHeadsParams p) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < p.elements) p.out[i] = p.weights[i] * p.scales[i];
}

template <typename T, int Lanes>
cudaError_t launch(const QuantizeIndexParams& p, cudaStream_t stream) {
  const float norm = 1.0f / sqrtf(static_cast<float>(p.width));
  quantize_index_kernel<T, Lanes>
      <<<static_cast<unsigned>(ceil_div(p.vectors * Lanes, kThreads)), kThreads, 0, stream>>>(p,
                                                                                              norm);
  return cudaGetLastError();
}

}  // namespace

cudaError_t quantize_index(const QuantizeIndexParams& params, cudaStream_t stream) {
  if (params.vectors == 0) return cudaSuccess;
  if (reinterpret_cast<std::uintptr_t>(params.x) % 16 != 0 ||
      reinterpret_cast<std::uintptr_t>(params.out) % 16 != 0) {
    return cudaErrorInvalidValue;
  }
  return with_float_type(params.type, [&](auto type) {
    using T = decltype(type);
    switch (params.width) {
      case 32:
        return launch<T, 4>(params, stream);
      case 64:
        return launch<T, 8>(params, stream);
      case 128:
        return launch<T, 16>(params, stream);
      case 256:
        return launch<T, 32>(params, stream);
      default:
        return cudaErrorInvalidValue;
    }
  });
}

cudaError_t scale_heads(const ScaleHeadsParams& params, cudaStream_t stream) {
  if (params.elements == 0) return cudaSuccess;
  scale_heads_kernel<<<static_cast<unsigned>(ceil_div(params.elements, 256)), 256, 0, stream>>>(
      params);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
