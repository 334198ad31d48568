// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/convert.h"

namespace indexcache::kernels {
namespace {

constexpr int kVector = 4;  // columns per thread
constexpr int kThreads = 128;

template <typename T>
struct alignas(sizeof(T) * kVector) Vector {
  T values[kVector];
};

// A block takes kThreads * kVector columns of one row, so that rows and heads are divided once.
template <typename X, typename Out, bool kAligned>
__global__ void convert_kernel(ConvertParams p) {
  const std::int64_t row = blockIdx.x;
  const std::int64_t col = (std::int64_t{blockIdx.y} * kThreads + threadIdx.x) * kVector;
  const std::int64_t head = row / p.head_rows;
  const std::int64_t inside = row - head * p.head_rows - p.first;
  if (col >= p.cols || inside < 0 || inside >= p.count) return;
  const X* x = static_cast<const X*>(p.x) + row * p.cols + col;
  const int used = static_cast<int>(p.cols - col < kVector ? p.cols - col : kVector);
  Vector<X> in;
  if constexpr (kAligned) {
    in = *reinterpret_cast<const Vector<X>*>(x);
  } else {
    for (int i = 0; i < used; ++i) in.values[i] = x[i];
  }
  const float* scales = p.scales == nullptr
                            ? nullptr
                            : p.scales + row / p.block_rows * ceil_div(p.cols, p.block_cols);
  Vector<Out> out;
  bool finite = true;
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    if (i >= used) break;
    float value = to_float(in.values[i]);
    if (scales != nullptr) value *= scales[(col + i) / p.block_cols];
    finite = finite && isfinite(value);
    out.values[i] = from_float<Out>(value);
  }
  if (p.not_finite != nullptr && !finite) *p.not_finite = 1;  // all write the same
  if (p.transposed) {
    Out* target = static_cast<Out*>(p.out) + (head * p.cols + col) * p.count + inside;
    for (int i = 0; i < used; ++i) target[i * p.count] = out.values[i];
    return;
  }
  Out* target = static_cast<Out*>(p.out) + (head * p.count + inside) * p.cols + col;
  if constexpr (kAligned) {
    *reinterpret_cast<Vector<Out>*>(target) = out;
  } else {
    for (int i = 0; i < used; ++i) target[i] = out.values[i];
  }
}

template <typename X>
cudaError_t launch(const ConvertParams& p, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(p.rows),
                  static_cast<unsigned>(ceil_div(p.cols, kThreads * kVector)));
  const auto places =
      reinterpret_cast<std::uintptr_t>(p.x) | reinterpret_cast<std::uintptr_t>(p.out);
  const bool aligned = p.cols % kVector == 0 && places % 16 == 0;
  return with_float_type(p.out_type, [&](auto out) {
    if (aligned) {
      convert_kernel<X, decltype(out), true><<<grid, kThreads, 0, stream>>>(p);
    } else {
      convert_kernel<X, decltype(out), false><<<grid, kThreads, 0, stream>>>(p);
    }
    return cudaGetLastError();
  });
}

}  // namespace

cudaError_t convert(const ConvertParams& params, cudaStream_t stream) {
  if (params.rows * params.cols == 0) return cudaSuccess;
  if (params.scales != nullptr && (params.block_rows <= 0 || params.block_cols <= 0)) {
    return cudaErrorInvalidValue;
  }
  if (params.head_rows <= 0 || ceil_div(params.cols, kThreads * kVector) > 65535) {
    return cudaErrorInvalidValue;
  }
  if (params.x_type == Type::e4m3) return launch<__nv_fp8_e4m3>(params, stream);
  if (params.x_type == Type::f16) return launch<__half>(params, stream);
  return with_float_type(params.x_type,
                         [&](auto x) { return launch<decltype(x)>(params, stream); });
}

}  // namespace indexcache::kernels
