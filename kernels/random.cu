// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/random.h"

namespace indexcache::kernels {
namespace {

__device__ std::uint64_t split_mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

template <typename T>
__global__ void random_kernel(RandomParams p) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= p.elements) return;
  const std::uint64_t bits = split_mix(split_mix(p.seed) ^ static_cast<std::uint64_t>(i));
  const float unit = static_cast<float>(bits >> 40) * 0x1p-23f - 1.0f;
  static_cast<T*>(p.out)[i] = from_float<T>(unit * p.scale + p.offset);
}

}  // namespace

cudaError_t fill_random(const RandomParams& params, cudaStream_t stream) {
  if (params.elements == 0) return cudaSuccess;
  const auto launch = [&](auto type) {
    random_kernel<decltype(type)>
        <<<static_cast<unsigned>(ceil_div(params.elements, 256)), 256, 0, stream>>>(params);
    return cudaGetLastError();
  };
  if (params.type == Type::e4m3) return launch(__nv_fp8_e4m3());
  return with_float_type(params.type, launch);
}

}  // namespace indexcache::kernels
