// SPDX-License-Identifier: Apache-2.0
#include "kernels/eight.cuh"
#include "kernels/silu.cuh"
#include "kernels/swiglu.h"

namespace indexcache::kernels {
namespace {

template <typename T>
__global__ void swiglu_kernel(SwigluParams p) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= p.rows * p.width) return;
  const std::int64_t row = i / p.width;
  const std::int64_t c = i % p.width;
  const T* in = static_cast<const T*>(p.gate_up) + row * 2 * p.width;
  const float value = silu_times(to_float(in[c]), to_float(in[p.width + c]), p.limit);
  static_cast<T*>(p.out)[i] = from_float<T>(value);
}

template <typename T>
__global__ void swiglu_eight_kernel(SwigluParams p) {
  const auto per_row = static_cast<unsigned>(p.width / kEight);
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  const unsigned row = i / per_row;
  if (row >= p.rows) return;
  const std::int64_t c = i % per_row * kEight;
  const T* in = static_cast<const T*>(p.gate_up) + row * 2 * p.width + c;
  float gate[kEight], up[kEight];
  load_eight(gate, in);
  load_eight(up, in + p.width);
#pragma unroll
  for (int j = 0; j < kEight; ++j) gate[j] = silu_times(gate[j], up[j], p.limit);
  store_eight(static_cast<T*>(p.out) + row * p.width + c, gate);
}

}  // namespace

cudaError_t swiglu(const SwigluParams& params, cudaStream_t stream) {
  const std::int64_t elements = params.rows * params.width;
  if (elements == 0) return cudaSuccess;
  return with_float_type(params.type, [&](auto type) {
    using T = decltype(type);
    if (whole_eights(params.gate_up, params.type, params.width, params.width) &&
        whole_eights(params.out, params.type, params.width, params.width) &&
        elements / kEight < INT32_MAX) {
      const auto blocks = static_cast<unsigned>(ceil_div(elements / kEight, 256));
      swiglu_eight_kernel<T><<<blocks, 256, 0, stream>>>(params);
    } else {
      swiglu_kernel<T><<<static_cast<unsigned>(ceil_div(elements, 256)), 256, 0, stream>>>(params);
    }
    return cudaGetLastError();
  });
}

}  // namespace indexcache::kernels
