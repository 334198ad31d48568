// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/convert.h"

namespace indexcache::kernels {
namespace {

template <typename X, typename Out>
__global__ void convert_kernel(ConvertParams p) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= p.rows * p.cols) return;
  float value = to_float(static_cast<const X*>(p.x)[i]);
  if (p.scales != nullptr) {
    const std::int64_t row = i / p.cols;
    const std::int64_t col = i % p.cols;
    value *= p.scales[row / p.block_rows * ceil_div(p.cols, p.block_cols) + col / p.block_cols];
  }
  static_cast<Out*>(p.out)[i] = from_float<Out>(value);
  if (p.not_finite != nullptr && !isfinite(value)) *p.not_finite = 1;  // all write the same
}

template <typename X>
cudaError_t launch(const ConvertParams& p, cudaStream_t stream) {
  return with_float_type(p.out_type, [&](auto out) {
    convert_kernel<X, decltype(out)>
        <<<static_cast<unsigned>(ceil_div(p.rows * p.cols, 256)), 256, 0, stream>>>(p);
    return cudaGetLastError();
  });
}

}  // namespace

cudaError_t convert(const ConvertParams& params, cudaStream_t stream) {
  if (params.rows * params.cols == 0) return cudaSuccess;
  if (params.scales != nullptr && (params.block_rows <= 0 || params.block_cols <= 0)) {
    return cudaErrorInvalidValue;
  }
  if (params.x_type == Type::e4m3) return launch<__nv_fp8_e4m3>(params, stream);
  if (params.x_type == Type::f16) return launch<__half>(params, stream);
  return with_float_type(params.x_type,
                         [&](auto x) { return launch<decltype(x)>(params, stream); });
}

}  // namespace indexcache::kernels
