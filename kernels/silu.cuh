// SPDX-License-Identifier: Apache-2.0
// silu(gate) * up, silu(x) = x / (1 + exp(-x)). A limit below infinity first clamps gate to at most
// `limit`, and up to [-limit, limit].
#pragma once

#include "kernels/eight.cuh"

namespace indexcache::kernels {

__device__ inline void clamp_gated(float& gate, float& up, float limit) {
  gate = fminf(gate, limit);
  up = fminf(fmaxf(up, -limit), limit);
}

__device__ inline float silu_times(float gate, float up, float limit) {
  if (limit < INFINITY) clamp_gated(gate, up, limit);
  return gate / (1.0f + expf(-gate)) * up;
}

// x / y, rounded once as x / y is, for 2^-60 <= |x| <= 80 and 1 <= y <= 1 + exp(80). No step leaves
// the range of normal numbers then, and none of a division's branches is needed.
__device__ inline float divide_moderate(float x, float y) {
  float reciprocal;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(reciprocal) : "f"(y));
  reciprocal = fmaf(fmaf(-y, reciprocal, 1.0f), reciprocal, reciprocal);
  const float quotient = x * reciprocal;
  return fmaf(fmaf(-y, quotient, x), reciprocal, quotient);
}

// gate becomes silu_times() of eight columns, to the same bits. Branches of eight divisions would
// keep the columns from being computed side by side.
__device__ inline void silu_times(float (&gate)[kEight], float (&up)[kEight], float limit) {
  if (limit < INFINITY) {
#pragma unroll
    for (int i = 0; i < kEight; ++i) clamp_gated(gate[i], up[i], limit);
  }
  float least = INFINITY, most = 0;
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    least = fminf(least, fabsf(gate[i]));
    most = fmaxf(most, fabsf(gate[i]));
  }
  const bool moderate = least >= 0x1p-60f && most <= 80.0f;
  if (moderate) {
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      gate[i] = divide_moderate(gate[i], 1.0f + expf(-gate[i])) * up[i];
    }
  } else {
#pragma unroll
    for (int i = 0; i < kEight; ++i) gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
  }
}

}  // namespace indexcache::kernels
