// SPDX-License-Identifier: Apache-2.0
// Exponentials by the instruction for powers of two: exp(x) = exponential(x * kLog2E).
#pragma once

namespace indexcache::kernels {

inline constexpr float kLog2E = 1.4426950408889634f;

__device__ inline float exponential(float x) {  // of 2
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace indexcache::kernels
