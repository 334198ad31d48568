// SPDX-License-Identifier: Apache-2.0
// RMSNorm and LayerNorm of rows:
//   rms:    out = weight * x / sqrt(mean(x^2) + eps)
//   layer:  out = weight * (x - mean) / sqrt(mean((x - mean)^2) + eps) + bias
// Statistics in float32, in an order that the width and the alignment decide. One warp per row up
// to 1,024 columns, else one block of 256 threads; out may be x.
//
// With `quantized`, what is written to `out`, rounded to its type, is quantized as block_quantize.h
// says, to the same bits: products in FP8 read it, and reading `out` again for that takes as long
// as the norm.
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
  void* quantized = nullptr;  // e4m3 [rows, width] without gaps, or null
  float* scales = nullptr;    // [rows, ceil(width / 128)] of `quantized`
};

cudaError_t norm(const NormParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
