// SPDX-License-Identifier: Apache-2.0
// Activations as FP8 block-scaled products take them (docs/numerics.md, FP8): groups of 128
// consecutive columns share a scale,
//   scale = max(max |x|, 1e-10) / 448,   out = e4m3(x / scale),  both operations rounded once,
// to the nearest, ties to even, saturating. The last group of a row may be shorter.
//
// What is quantized are the rows of x or, if `gated`, SwiGLU of them (swiglu.h) rounded to the type
// of x. norm.h quantizes what it writes in the same way.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kQuantizedGroup = 128;

struct BlockQuantizeParams {
  const void* x;  // type [rows, width], or [rows, 2 * width] if gated: gate, then up
  Type type;      // f32 or bf16
  std::int64_t x_stride;
  bool gated = false;
  float limit = 0;  // of SwiGLU if gated
  void* out;        // e4m3 [rows, width] without gaps
  float* scales;    // [rows, ceil(width / 128)]
  std::int64_t rows, width;
};

cudaError_t block_quantize(const BlockQuantizeParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
