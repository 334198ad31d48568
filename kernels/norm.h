// SPDX-License-Identifier: Apache-2.0
// RMSNorm and LayerNorm of rows:
//   rms:    out = weight * x / sqrt(mean(x^2) + eps)
//   layer:  out = weight * (x - mean) / sqrt(mean((x - mean)^2) + eps) + bias
// Statistics in float32, in an order that the width and the alignment decide. One warp per row up
// to 1,024 columns, else one block of 256 threads; out may be x.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct NormParams {
  const void* x;  // x_type [rows, width]
  Type x_type;
  std::int64_t x_stride;
  const float* weight;  // [width]
  const float* bias;    // [width] for LayerNorm, null for RMSNorm
  float eps;
  void* out;  // out_type [rows, width]
  Type out_type;
  std::int64_t out_stride;
  std::int64_t rows;
  std::int64_t width;
};

cudaError_t norm(const NormParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
