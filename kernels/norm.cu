// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/norm.h"

namespace indexcache::kernels {
namespace {

// `sum` adds a value over the threads that share the row.
template <typename X, typename Out, typename Sum>
__device__ void norm_row(const NormParams& p, std::int64_t row, int thread, int threads,
                         const Sum& sum) {
  const X* x = static_cast<const X*>(p.x) + row * p.x_stride;
  Out* out = static_cast<Out*>(p.out) + row * p.out_stride;
  const auto width = static_cast<float>(p.width);
  float mean = 0;
  if (p.bias != nullptr) {
    float total = 0;
    for (std::int64_t c = thread; c < p.width; c += threads) total += to_float(x[c]);
    mean = sum(total) / width;
  }
  float squares = 0;
  for (std::int64_t c = thread; c < p.width; c += threads) {
    const float centered = to_float(x[c]) - mean;
    squares += centered * centered;
  }
  const float factor = 1.0f / sqrtf(sum(squares) / width + p.eps);
  for (std::int64_t c = thread; c < p.width; c += threads) {
    const float value = p.weight[c] * ((to_float(x[c]) - mean) * factor);
    out[c] = from_float<Out>(p.bias != nullptr ? value + p.bias[c] : value);
  }
}

template <typename X, typename Out>
__global__ void norm_warp_kernel(NormParams p) {
  const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (row >= p.rows) return;
  norm_row<X, Out>(p, row, static_cast<int>(threadIdx.x), kWarp,
                   [](float x) { return warp_sum(x); });
}

template <typename X, typename Out>
__global__ void norm_block_kernel(NormParams p) {
  __shared__ float scratch[32];
  norm_row<X, Out>(p, blockIdx.x, static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x),
                   [&](float x) { return block_sum(x, scratch); });
}

template <typename X, typename Out>
cudaError_t launch(const NormParams& p, cudaStream_t stream) {
  if (p.width <= 1024) {
    constexpr int kRows = 8;
    norm_warp_kernel<X, Out>
        <<<static_cast<unsigned>(ceil_div(p.rows, kRows)), dim3(kWarp, kRows), 0, stream>>>(p);
  } else {
    norm_block_kernel<X, Out><<<static_cast<unsigned>(p.rows), 256, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

}  // namespace

cudaError_t norm(const NormParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  return with_float_type(params.x_type, [&](auto x) {
    return with_float_type(params.out_type, [&](auto out) {
      return launch<decltype(x), decltype(out)>(params, stream);
    });
  });
}

}  // namespace indexcache::kernels
