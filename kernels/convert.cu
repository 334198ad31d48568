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

// Two numbers of FP4, of which each has a sign, two bits of exponent and one of mantissa.
struct Fp4Pair {
  std::uint8_t bits;
};

__device__ float e2m1_to_float(unsigned code) {
  const unsigned sign = (code & 8u) << 28, exponent = code >> 1 & 3u, mantissa = code & 1u;
  constexpr unsigned kHalf = 0x3f000000u;  // 0.5, the only number without a leading one but zero
  const unsigned size = exponent == 0 ? mantissa * kHalf : (exponent + 126u) << 23 | mantissa << 22;
  return __uint_as_float(sign | size);
}

// The first `used` numbers of x, which are all of them if it is aligned.
template <bool kAligned, typename X>
__device__ void load(float (&values)[kVector], const X* x, int used) {
  Vector<X> in;
  if constexpr (kAligned) {
    in = *reinterpret_cast<const Vector<X>*>(x);
  } else {
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      if (i < used) in.values[i] = x[i];
    }
  }
#pragma unroll
  for (int i = 0; i < kVector; ++i) values[i] = i < used ? to_float(in.values[i]) : 0.0f;
}
template <bool kAligned>
__device__ void load(float (&values)[kVector], const Fp4Pair* x, int used) {
#pragma unroll
  for (int i = 0; i < kVector; i += 2) {
    if (i >= used) break;
    values[i] = e2m1_to_float(x[i / 2].bits & 0xfu);
    values[i + 1] = e2m1_to_float(x[i / 2].bits >> 4);
  }
}

// Address of element `i`, the first of its pair.
template <typename X>
__device__ const X* element(const void* x, std::int64_t i) {
  return static_cast<const X*>(x) + i;
}
template <>
__device__ const Fp4Pair* element<Fp4Pair>(const void* x, std::int64_t i) {
  return static_cast<const Fp4Pair*>(x) + i / 2;
}

// The i-th scale.
__device__ float scale_at(const ConvertParams& p, std::int64_t i) {
  return p.scales_type == Type::e8m0 ? to_float(static_cast<const E8m0*>(p.scales)[i])
                                     : static_cast<const float*>(p.scales)[i];
}

// A block takes kThreads * kVector columns of one row, so that rows and heads are divided once.
template <typename X, typename Out, bool kAligned>
__global__ void convert_kernel(ConvertParams p) {
  const std::int64_t row = blockIdx.x;
  const std::int64_t col = (std::int64_t{blockIdx.y} * kThreads + threadIdx.x) * kVector;
  const std::int64_t head = row / p.head_rows;
  const std::int64_t inside = row - head * p.head_rows - p.first;
  if (col >= p.cols || inside < 0 || inside >= p.count) return;
  const int used =
      kAligned ? kVector : static_cast<int>(p.cols - col < kVector ? p.cols - col : kVector);
  float in[kVector];
  load<kAligned>(in, element<X>(p.x, row * p.cols + col), used);
  const std::int64_t first_scale =
      p.scales == nullptr ? 0 : row / p.block_rows * ceil_div(p.cols, p.block_cols);
  Vector<Out> out;
  bool finite = true;
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    if (i >= used) break;
    float value = in[i];
    if (p.scales != nullptr) value *= scale_at(p, first_scale + (col + i) / p.block_cols);
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
  if (params.x_type == Type::e2m1) {
    return params.cols % 2 == 0 ? launch<Fp4Pair>(params, stream) : cudaErrorInvalidValue;
  }
  if (params.x_type == Type::e4m3) return launch<__nv_fp8_e4m3>(params, stream);
  if (params.x_type == Type::f16) return launch<__half>(params, stream);
  if (params.x_type == Type::e8m0) return launch<E8m0>(params, stream);
  return with_float_type(params.x_type,
                         [&](auto x) { return launch<decltype(x)>(params, stream); });
}

}  // namespace indexcache::kernels
