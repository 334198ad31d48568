// SPDX-License-Identifier: Apache-2.0
#include "kernels/fma_tile.cuh"
#include "kernels/linear_backward.h"

namespace indexcache::kernels {
namespace {

constexpr int kWantedBlocks = 528;        // four on each of 132 multiprocessors
constexpr std::int64_t kLeastRows = 128;  // of a split

// Rows [first, first + kFmaDepth) and columns [column, column + kFmaTile), zero beyond the ends.
template <typename T>
__device__ void load_rows(FmaRow* tile, const T* source, std::int64_t stride, std::int64_t first,
                          std::int64_t end, std::int64_t column, std::int64_t columns) {
  for (int i = static_cast<int>(threadIdx.x); i < kFmaDepth * kFmaTile; i += kFmaThreads) {
    const std::int64_t row = first + i / kFmaTile, c = column + i % kFmaTile;
    tile[i / kFmaTile][i % kFmaTile] =
        row < end && c < columns ? to_float(source[row * stride + c]) : 0.0f;
  }
}

// Block (columns of x, columns of d_out, split).
template <typename T>
__global__ void __launch_bounds__(kFmaThreads)
    product_kernel(LinearBackwardParams p, std::int64_t split_rows) {
  __shared__ __align__(16) FmaRow buffer[kFmaTile];
  const std::int64_t in = std::int64_t{blockIdx.x} * kFmaTile;
  const std::int64_t out = std::int64_t{blockIdx.y} * kFmaTile;
  const std::int64_t begin = blockIdx.z * split_rows, end = min(begin + split_rows, p.rows);
  float sums[4][4] = {};
  for (std::int64_t row = begin; row < end; row += kFmaDepth) {
    __syncthreads();
    load_rows(buffer, p.d_out, p.d_out_stride, row, end, out, p.out);
    load_rows(buffer + kFmaDepth, static_cast<const T*>(p.x), p.x_stride, row, end, in, p.in);
    __syncthreads();
    multiply_tiles<kFmaDepth>(buffer, buffer + kFmaDepth, sums);
  }
  const std::int64_t first_row = out + threadIdx.x / 16 * 4,
                     first_column = in + threadIdx.x % 16 * 4;
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      const std::int64_t o = first_row + i, c = first_column + j;
      if (o >= p.out || c >= p.in) continue;
      if (p.splits == 1) {
        p.gradient[o * p.gradient_stride + c] += sums[i][j];
      } else {
        p.parts[(blockIdx.z * p.out + o) * p.in + c] = sums[i][j];
      }
    }
  }
}

__global__ void add_parts_kernel(LinearBackwardParams p) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= p.out * p.in) return;
  float sum = 0;
  for (int split = 0; split < p.splits; ++split) sum += p.parts[split * p.out * p.in + i];
  p.gradient[i / p.in * p.gradient_stride + i % p.in] += sum;
}

template <typename T>
cudaError_t launch(const LinearBackwardParams& p, cudaStream_t stream) {
  const std::int64_t split_rows = ceil_div(ceil_div(p.rows, p.splits), kFmaDepth) * kFmaDepth;
  const dim3 grid(static_cast<unsigned>(ceil_div(p.in, kFmaTile)),
                  static_cast<unsigned>(ceil_div(p.out, kFmaTile)),
                  static_cast<unsigned>(p.splits));
  product_kernel<T><<<grid, kFmaThreads, 0, stream>>>(p, split_rows);
  const cudaError_t status = cudaGetLastError();
  if (status != cudaSuccess || p.splits == 1) return status;
  add_parts_kernel<<<static_cast<unsigned>(ceil_div(p.out * p.in, 256)), 256, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

int linear_backward_splits(std::int64_t rows, std::int64_t in, std::int64_t out) {
  const std::int64_t tiles = ceil_div(in, kFmaTile) * ceil_div(out, kFmaTile);
  const std::int64_t wanted = kWantedBlocks / (tiles > 0 ? tiles : 1);
  const std::int64_t possible = rows / kLeastRows;
  const std::int64_t splits = wanted < possible ? wanted : possible;
  return splits < 1 ? 1 : static_cast<int>(splits);
}

cudaError_t linear_backward(const LinearBackwardParams& params, cudaStream_t stream) {
  if (params.rows == 0 || params.in == 0 || params.out == 0) return cudaSuccess;
  if (params.splits < 1 || (params.splits > 1 && params.parts == nullptr)) {
    return cudaErrorInvalidValue;
  }
  return with_float_type(params.x_type,
                         [&](auto x) { return launch<decltype(x)>(params, stream); });
}

}  // namespace indexcache::kernels
