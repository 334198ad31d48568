// SPDX-License-Identifier: Apache-2.0
// Stored matrices as the backend multiplies them: f32, bf16, f16, FP8 (E4M3) or FP4 (E2M1), the
// last two with one scale per block, to float32 or bf16. Scales by themselves (E8M0) likewise.
//   y[r, c] = x[r, c] * scale[r / block_rows, c / block_cols]
// Blocks at the edges may be partial. The product is rounded once, to out_type.
//
// Rows belong to heads of head_rows each, of which rows [first, first + count) are written: as
// out[heads * count, cols], or each head transposed, as out[heads * cols, count].
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct ConvertParams {
  const void* x;  // x_type [rows, cols]; cols is even for e2m1
  Type x_type;
  const void* scales;  // [ceil(rows / block_rows), ceil(cols / block_cols)], null for none
  Type scales_type = Type::f32;  // or e8m0
  std::int64_t block_rows, block_cols;
  void* out;
  Type out_type;  // f32 or bf16
  std::int64_t rows, cols;
  std::int64_t head_rows, first, count;  // rows, 0, rows: one head, all of it
  bool transposed;
  int* not_finite;  // set to 1 if a result is not finite; may be null
};

cudaError_t convert(const ConvertParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
