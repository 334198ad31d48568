// SPDX-License-Identifier: Apache-2.0
// Copies rows to the places that another layout of consecutive positions gives them, out row
// key_base + position, or from there. Exact.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct CopyRowsParams {
  const void* x;  // [rows, row_bytes], x_stride bytes from row to row
  void* out;
  std::int64_t x_stride, out_stride;  // bytes
  std::int64_t row_bytes;             // a multiple of 4
  const RowPlace* places;             // [rows] of x, key_base as in out; the reverse if `gather`
  std::int64_t rows;
  bool gather = false;
};

cudaError_t copy_rows(const CopyRowsParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
