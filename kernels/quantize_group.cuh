// SPDX-License-Identifier: Apache-2.0
// Groups of 128 columns in FP8 (block_quantize.h): half a warp takes a group, eight consecutive
// columns per lane.
#pragma once

#include "kernels/block_quantize.h"
#include "kernels/eight.cuh"

namespace indexcache::kernels {

inline constexpr int kGroupLanes = kQuantizedGroup / kEight;

// x / scale, rounded once, with two corrections of a product by the reciprocal: a division for
// every element takes twice as many instructions.
__device__ inline void divide(float (&x)[kEight], float scale) {
  if (!isfinite(scale)) {  // a remainder would be NaN
#pragma unroll
    for (int i = 0; i < kEight; ++i) x[i] = x[i] / scale;
    return;
  }
  const float reciprocal = 1.0f / scale;
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    float quotient = x[i] * reciprocal;
    quotient = fmaf(fmaf(-quotient, scale, x[i]), reciprocal, quotient);
    x[i] = fmaf(fmaf(-quotient, scale, x[i]), reciprocal, quotient);
  }
}

// Eight columns in e4m3.
struct alignas(8) QuantizedEight {
  __nv_fp8x2_storage_t pairs[kEight / 2];
};

// Those of each lane of a group; x becomes the quotients. All lanes of the warp call it, and get
// the scale of their group. Columns that do not exist are 0.
__device__ inline float quantize_group(QuantizedEight& out, float (&x)[kEight]) {
  constexpr float kLargest = 448.0f;  // of e4m3
  constexpr float kLeastMaximum = 1e-10f;
  float most = kLeastMaximum;
#pragma unroll
  for (int i = 0; i < kEight; ++i) most = fmaxf(most, fabsf(x[i]));
  for (int offset = kGroupLanes / 2; offset > 0; offset /= 2) {
    most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, offset));
  }
  const float scale = most / kLargest;
  divide(x, scale);
#pragma unroll
  for (int i = 0; i < kEight / 2; ++i) {
    out.pairs[i] =
        __nv_cvt_float2_to_fp8x2(make_float2(x[2 * i], x[2 * i + 1]), __NV_SATFINITE, __NV_E4M3);
  }
  return scale;
}

}  // namespace indexcache::kernels
