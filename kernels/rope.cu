// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/rope.h"

namespace indexcache::kernels {
namespace {

// One thread per pair.
template <typename T>
__global__ void rope_kernel(RopeParams p) {
  const std::int64_t pairs = p.width / 2;
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= p.rows * p.heads * pairs) return;
  const std::int64_t pair = i % pairs;
  const std::int64_t head = i / pairs % p.heads;
  const std::int64_t row = i / pairs / p.heads;
  const std::int64_t angle = p.places[row].position * pairs + pair;
  const std::int64_t first = p.interleaved ? 2 * pair : pair;
  const std::int64_t second = p.interleaved ? first + 1 : pair + pairs;
  const T* x = static_cast<const T*>(p.x) + row * p.x_stride + head * p.x_head_stride;
  T* out = static_cast<T*>(p.out) + row * p.out_stride + head * p.out_head_stride;
  const float u = to_float(x[first]);
  const float v = to_float(x[second]);
  const float c = p.cosines[angle];
  const float s = p.sines[angle];
  out[first] = from_float<T>(u * c - v * s);
  out[second] = from_float<T>(u * s + v * c);
}

}  // namespace

cudaError_t rope(const RopeParams& params, cudaStream_t stream) {
  const std::int64_t threads = params.rows * params.heads * (params.width / 2);
  if (params.width % 2 != 0) return cudaErrorInvalidValue;
  if (threads == 0) return cudaSuccess;
  return with_float_type(params.type, [&](auto type) {
    rope_kernel<decltype(type)>
        <<<static_cast<unsigned>(ceil_div(threads, 256)), 256, 0, stream>>>(params);
    return cudaGetLastError();
  });
}

}  // namespace indexcache::kernels
