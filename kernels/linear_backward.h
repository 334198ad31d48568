// SPDX-License-Identifier: Apache-2.0
// Gradient of a matrix that rows are multiplied by:
//   gradient[o, i] += sum over t of d_out[t, o] * x[t, i]
// float32 FMA whatever the type of x. Rows are cut into `splits` parts, a number that the shapes
// alone determine (linear_backward_splits), so that small matrices keep the machine busy. A part is
// summed in ascending order, the parts are added in ascending order: the same call, the same bits.
// Bound by FMAs, 64 x 64 results a block.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct LinearBackwardParams {
  const void* x;  // x_type [rows, in]
  Type x_type;    // f32 or bf16
  std::int64_t x_stride;
  const float* d_out;  // [rows, out]
  std::int64_t d_out_stride;
  float* gradient;  // [out, in]
  std::int64_t gradient_stride;
  std::int64_t rows, in, out;
  int splits;
  float* parts;  // [splits, out, in] scratch; not used for one split
};

int linear_backward_splits(std::int64_t rows, std::int64_t in, std::int64_t out);

cudaError_t linear_backward(const LinearBackwardParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
