// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/quantize_index.h"

namespace indexcache::kernels {
namespace {

__device__ float rounded_to_bf16(float x) {
  return to_float(from_float<bf16>(x));
}

// Element i * 32 + lane of the vector is values[i].
template <int PerLane>
__device__ void hadamard(float (&values)[PerLane]) {
  const unsigned lane = threadIdx.x % kWarp;
  for (unsigned step = 1; step < kWarp; step *= 2) {
    for (float& value : values) {
      const float other = __shfl_xor_sync(kAllLanes, value, step);
      value = (lane & step) != 0 ? other - value : value + other;
    }
  }
  for (int step = 1; step < PerLane; step *= 2) {
    for (int i = 0; i < PerLane; ++i) {
      if ((i & step) != 0) continue;
      const float a = values[i], b = values[i + step];
      values[i] = a + b;
      values[i + step] = a - b;
    }
  }
}

// The smallest power of two that is at least x: exact by bits.
__device__ float power_of_two_above(float x) {
  const std::uint32_t bits = __float_as_uint(x);
  const std::uint32_t exponent = bits >> 23;
  return __uint_as_float((exponent + ((bits & 0x7fffffu) != 0 ? 1 : 0)) << 23);
}

template <typename T, int PerLane>
__global__ void quantize_index_kernel(QuantizeIndexParams p) {
  const std::int64_t vector = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (vector >= p.vectors) return;
  const T* x = static_cast<const T*>(p.x) + vector * p.width;
  float values[PerLane];
  for (int i = 0; i < PerLane; ++i) {
    values[i] = rounded_to_bf16(to_float(x[i * kWarp + threadIdx.x]));
  }
  hadamard(values);
  const float norm = 1.0f / sqrtf(static_cast<float>(p.width));
  float largest = 1e-4f;
  for (float& value : values) {
    value = rounded_to_bf16(value * norm);
    largest = fmaxf(largest, fabsf(value));
  }
  const float scale = power_of_two_above(warp_max(largest) / 448.0f);
  auto* out = static_cast<__nv_fp8_e4m3*>(p.out) + vector * p.width;
  for (int i = 0; i < PerLane; ++i) {  // the conversion clamps
    out[i * kWarp + threadIdx.x] = __nv_fp8_e4m3(values[i] / scale);
  }
  if (threadIdx.x == 0) p.scales[vector] = scale;
}

__global__ void scale_heads_kernel(ScaleHeadsParams p) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < p.elements) p.out[i] = p.weights[i] * p.scales[i];
}

template <typename T, int PerLane>
cudaError_t launch(const QuantizeIndexParams& p, cudaStream_t stream) {
  constexpr int kVectors = 8;
  quantize_index_kernel<T, PerLane>
      <<<static_cast<unsigned>(ceil_div(p.vectors, kVectors)), dim3(kWarp, kVectors), 0, stream>>>(
          p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t quantize_index(const QuantizeIndexParams& params, cudaStream_t stream) {
  if (params.vectors == 0) return cudaSuccess;
  return with_float_type(params.type, [&](auto type) {
    using T = decltype(type);
    switch (params.width) {
      case 32:
        return launch<T, 1>(params, stream);
      case 64:
        return launch<T, 2>(params, stream);
      case 128:
        return launch<T, 4>(params, stream);
      case 256:
        return launch<T, 8>(params, stream);
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
