// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
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
  const float gate = to_float(in[c]);
  const float up = to_float(in[p.width + c]);
  static_cast<T*>(p.out)[i] = from_float<T>(gate / (1.0f + expf(-gate)) * up);
}

}  // namespace

cudaError_t swiglu(const SwigluParams& params, cudaStream_t stream) {
  const std::int64_t elements = params.rows * params.width;
  if (elements == 0) return cudaSuccess;
  return with_float_type(params.type, [&](auto type) {
    swiglu_kernel<decltype(type)>
        <<<static_cast<unsigned>(ceil_div(elements, 256)), 256, 0, stream>>>(params);
    return cudaGetLastError();
  });
}

}  // namespace indexcache::kernels
