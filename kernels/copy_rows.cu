// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/copy_rows.h"

namespace indexcache::kernels {
namespace {

// Word is the widest access that strides and addresses allow.
template <typename Word>
__global__ void copy_rows_kernel(CopyRowsParams p) {
  const std::int64_t words = p.row_bytes / static_cast<std::int64_t>(sizeof(Word));
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= p.rows * words) return;
  const std::int64_t row = i / words;
  const std::int64_t word = i % words;
  const std::int64_t place = std::int64_t{p.places[row].key_base} + p.places[row].position;
  const std::int64_t from = p.gather ? place : row, to = p.gather ? row : place;
  const auto* source =
      reinterpret_cast<const Word*>(static_cast<const char*>(p.x) + from * p.x_stride);
  auto* target = reinterpret_cast<Word*>(static_cast<char*>(p.out) + to * p.out_stride);
  target[word] = source[word];
}

template <typename Word>
bool fits(const CopyRowsParams& p) {
  const auto bits = reinterpret_cast<std::uintptr_t>(p.x) |
                    reinterpret_cast<std::uintptr_t>(p.out) |
                    static_cast<std::uintptr_t>(p.x_stride | p.out_stride | p.row_bytes);
  return bits % sizeof(Word) == 0;
}

template <typename Word>
cudaError_t launch(const CopyRowsParams& p, cudaStream_t stream) {
  const std::int64_t threads = p.rows * p.row_bytes / static_cast<std::int64_t>(sizeof(Word));
  copy_rows_kernel<Word><<<static_cast<unsigned>(ceil_div(threads, 256)), 256, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t copy_rows(const CopyRowsParams& params, cudaStream_t stream) {
  if (params.rows * params.row_bytes == 0) return cudaSuccess;
  if (fits<int4>(params)) return launch<int4>(params, stream);
  if (fits<int>(params)) return launch<int>(params, stream);
  return cudaErrorInvalidValue;
}

}  // namespace indexcache::kernels
