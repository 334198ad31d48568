// SPDX-License-Identifier: Apache-2.0
// Stored matrices as the engine multiplies them: f32, bf16, f16 or FP8 (E4M3, one scale a block) to
// float32 or bf16.  out[r, c] = x[r, c] * scale[r / block_rows, c / block_cols]; blocks at the
// edges may be partial. The product is rounded once, to out_type.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct ConvertParams {
  const void* x;  // x_type [rows, cols]
  Type x_type;
  const float* scales;  // [ceil(rows / block_rows), ceil(cols / block_cols)], null for none
  std::int64_t block_rows, block_cols;
  void* out;  // out_type [rows, cols]: f32 or bf16
  Type out_type;
  std::int64_t rows, cols;
  int* not_finite;  // set to 1 where a result is no finite number; null: nobody asks
};

cudaError_t convert(const ConvertParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
