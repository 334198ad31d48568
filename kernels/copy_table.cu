// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/copy_table.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 256;

__global__ void copy_kernel(CopyTableParams p) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= p.count) return;
  const std::int64_t number = p.x[i];
  const bool valid = number >= 0 && number < p.limit;
  p.out[i] = valid ? static_cast<std::int32_t>(number) : 0;
  if (!valid) *p.out_of_range = 1;  // all write the same
}

}  // namespace

cudaError_t copy_table(const CopyTableParams& params, cudaStream_t stream) {
  if (params.count == 0) return cudaSuccess;
  const std::int64_t blocks = ceil_div(params.count, kThreads);
  if (blocks > 0x7fffffff || params.limit > 0x7fffffff) return cudaErrorInvalidValue;
  copy_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
