// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/embed.h"

namespace indexcache::kernels {
namespace {

template <typename T>
__global__ void embed_kernel(EmbedParams p) {
  const std::int64_t row = blockIdx.x;
  const T* source = static_cast<const T*>(p.table) + p.tokens[row] * p.width;
  for (std::int64_t c = threadIdx.x; c < p.width; c += blockDim.x) {
    p.out[row * p.out_stride + c] = to_float(source[c]);
  }
}

}  // namespace

cudaError_t embed(const EmbedParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  return with_float_type(params.table_type, [&](auto type) {
    embed_kernel<decltype(type)><<<static_cast<unsigned>(params.rows), 128, 0, stream>>>(params);
    return cudaGetLastError();
  });
}

}  // namespace indexcache::kernels
