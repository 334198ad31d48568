// SPDX-License-Identifier: Apache-2.0
#include "kernels/adam.h"
#include "kernels/common.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 256;

__device__ double block_sum(double x) {
  __shared__ double scratch[kThreads / kWarp];
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(kAllLanes, x, offset);
  }
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = x;
  __syncthreads();
  double total = 0;
  for (const double warp : scratch) total += warp;
  return total;
}

// Block (part, row).
__global__ void __launch_bounds__(kThreads) norm_parts_kernel(SquaredNormsParams p) {
  const float* x = p.x + blockIdx.y * p.stride;
  const std::int64_t first = blockIdx.x * kNormPart;
  double sum = 0;
  for (std::int64_t i = first + threadIdx.x; i < min(first + kNormPart, p.n); i += kThreads) {
    const double value = x[i];
    sum += value * value;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) p.parts[std::int64_t{blockIdx.y} * gridDim.x + blockIdx.x] = sum;
}

// Block: a row.
__global__ void __launch_bounds__(kThreads) add_norm_parts_kernel(SquaredNormsParams p, int parts) {
  const double* of_row = p.parts + std::int64_t{blockIdx.x} * parts;
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < parts; i += kThreads) sum += of_row[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) p.norms[blockIdx.x] = sum;
}

// Block (columns, row).
__global__ void __launch_bounds__(kThreads) adam_kernel(AdamParams p) {
  const std::int64_t column = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (column >= p.n) return;
  const std::int64_t i = blockIdx.y * p.n + column;
  const float gradient = p.scales[blockIdx.y] * p.gradients[i];
  const float mean = p.beta1 * p.mean[i] + (1 - p.beta1) * gradient;
  const float variance = p.beta2 * p.variance[i] + (1 - p.beta2) * gradient * gradient;
  p.mean[i] = mean;
  p.variance[i] = variance;
  p.parameters[i] -=
      p.rate * (mean / p.mean_correction) / (sqrtf(variance / p.variance_correction) + p.epsilon);
}

__global__ void __launch_bounds__(kThreads) add_kernel(AddParams p) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= p.rows * p.cols) return;
  const std::int64_t row = i / p.cols, column = i - row * p.cols;
  p.out[row * p.out_stride + column] += p.x[row * p.x_stride + column];
}

constexpr std::int64_t kMostRows = 65535;  // of a grid's second dimension

}  // namespace

cudaError_t squared_norms(const SquaredNormsParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  if (params.rows > kMostRows) return cudaErrorInvalidValue;
  const auto parts = static_cast<unsigned>(ceil_div(params.n, kNormPart));
  const auto rows = static_cast<unsigned>(params.rows);
  if (parts > 0) {
    norm_parts_kernel<<<dim3(parts, rows), kThreads, 0, stream>>>(params);
    const cudaError_t status = cudaGetLastError();
    if (status != cudaSuccess) return status;
  }
  add_norm_parts_kernel<<<rows, kThreads, 0, stream>>>(params, static_cast<int>(parts));
  return cudaGetLastError();
}

cudaError_t adam(const AdamParams& params, cudaStream_t stream) {
  if (params.rows * params.n == 0) return cudaSuccess;
  if (params.rows > kMostRows) return cudaErrorInvalidValue;
  const dim3 grid(static_cast<unsigned>(ceil_div(params.n, kThreads)),
                  static_cast<unsigned>(params.rows));
  adam_kernel<<<grid, kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

cudaError_t add(const AddParams& params, cudaStream_t stream) {
  if (params.rows * params.cols == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>(ceil_div(params.rows * params.cols, kThreads));
  add_kernel<<<blocks, kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
