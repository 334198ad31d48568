// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/copy_fp8.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kVector = 16;  // numbers per thread

// Whether one of four numbers is NaN: all bits but the sign are set.
__device__ bool has_nan(unsigned four) {
  return __vcmpeq4(four & 0x7f7f7f7fu, 0x7f7f7f7fu) != 0;
}

__global__ void copy_kernel(CopyFp8Params p) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i * kVector >= p.count) return;
  const uint4 numbers = static_cast<const uint4*>(p.x)[i];
  static_cast<uint4*>(p.out)[i] = numbers;
  if (has_nan(numbers.x) || has_nan(numbers.y) || has_nan(numbers.z) || has_nan(numbers.w)) {
    *p.not_finite = 1;  // all write the same
  }
}

}  // namespace

cudaError_t copy_fp8(const CopyFp8Params& params, cudaStream_t stream) {
  if (params.count == 0) return cudaSuccess;
  const auto places =
      reinterpret_cast<std::uintptr_t>(params.x) | reinterpret_cast<std::uintptr_t>(params.out);
  if (params.count % kVector != 0 || places % 16 != 0) return cudaErrorInvalidValue;
  const std::int64_t blocks = ceil_div(params.count, std::int64_t{kThreads} * kVector);
  if (blocks > 0x7fffffff) return cudaErrorInvalidValue;
  copy_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
