// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/layer_norm_backward.h"

namespace indexcache::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;

// `sums` [2, width] of d_weight and d_bias belong to this warp, a column always to the same lane.
template <typename T>
__device__ void backward_row(const LayerNormBackwardParams& p, std::int64_t row, float* sums) {
  const T* x = static_cast<const T*>(p.x) + row * p.x_stride;
  float* d_out = p.d_out + row * p.d_out_stride;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto width = static_cast<float>(p.width);
  float total = 0;
  for (int c = lane; c < p.width; c += kWarp) total += to_float(x[c]);
  const float mean = warp_sum(total) / width;
  float squares = 0;
  for (int c = lane; c < p.width; c += kWarp) {
    const float centered = to_float(x[c]) - mean;
    squares += centered * centered;
  }
  const float factor = 1.0f / sqrtf(warp_sum(squares) / width + p.eps);
  float plain = 0, along = 0;  // sums of d and of d * x'
  for (int c = lane; c < p.width; c += kWarp) {
    const float normalized = (to_float(x[c]) - mean) * factor;
    const float gradient = d_out[c], d = p.weight[c] * gradient;
    sums[c] += gradient * normalized;
    sums[p.width + c] += gradient;
    plain += d;
    along += d * normalized;
  }
  plain = warp_sum(plain) / width;
  along = warp_sum(along) / width;
  for (int c = lane; c < p.width; c += kWarp) {
    const float normalized = (to_float(x[c]) - mean) * factor;
    d_out[c] = factor * (p.weight[c] * d_out[c] - plain - normalized * along);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) backward_kernel(LayerNormBackwardParams p) {
  extern __shared__ float sums[];  // [kWarps, 2, width]
  const int warp = static_cast<int>(threadIdx.x) / kWarp, columns = 2 * p.width;
  for (int i = static_cast<int>(threadIdx.x); i < kWarps * columns; i += kThreads) sums[i] = 0;
  __syncthreads();
  const std::int64_t first = std::int64_t{blockIdx.x} * kNormBackwardRows;
  for (std::int64_t row = first + warp; row < min(first + kNormBackwardRows, p.rows);
       row += kWarps) {
    backward_row<T>(p, row, sums + warp * columns);
  }
  __syncthreads();
  for (int c = static_cast<int>(threadIdx.x); c < columns; c += kThreads) {
    float sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += sums[w * columns + c];
    p.parts[std::int64_t{blockIdx.x} * columns + c] = sum;
  }
}

// 32 columns a block; warp w adds parts w, w + 8, …
__global__ void __launch_bounds__(kThreads) add_parts_kernel(LayerNormBackwardParams p, int parts) {
  __shared__ float sums[kWarps][kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, columns = 2 * p.width;
  const int column = static_cast<int>(blockIdx.x) * kWarp + lane;
  float sum = 0;
  for (int part = warp; part < parts && column < columns; part += kWarps) {
    sum += p.parts[std::int64_t{part} * columns + column];
  }
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || column >= columns) return;
  for (int w = 1; w < kWarps; ++w) sum += sums[w][lane];
  float* out = column < p.width ? p.d_weight + column : p.d_bias + column - p.width;
  *out += sum;
}

template <typename T>
cudaError_t launch(const LayerNormBackwardParams& p, cudaStream_t stream) {
  const std::size_t bytes = static_cast<std::size_t>(kWarps * 2 * p.width) * sizeof(float);
  cudaError_t status = cudaFuncSetAttribute(
      backward_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (status != cudaSuccess) return status;
  const auto parts = static_cast<int>(ceil_div(p.rows, kNormBackwardRows));
  backward_kernel<T><<<static_cast<unsigned>(parts), kThreads, bytes, stream>>>(p);
  status = cudaGetLastError();
  if (status != cudaSuccess) return status;
  add_parts_kernel<<<static_cast<unsigned>(ceil_div(2 * p.width, kWarp)), kThreads, 0, stream>>>(
      p, parts);
  return cudaGetLastError();
}

}  // namespace

cudaError_t layer_norm_backward(const LayerNormBackwardParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  if (params.width > kMostNormBackwardWidth) return cudaErrorInvalidValue;
  return with_float_type(params.x_type,
                         [&](auto x) { return launch<decltype(x)>(params, stream); });
}

}  // namespace indexcache::kernels
