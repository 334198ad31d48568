// SPDX-License-Identifier: Apache-2.0
// silu(gate) * up, silu(x) = x / (1 + exp(-x)). A limit below infinity first clamps gate to at most
// `limit`, and up to [-limit, limit].
#pragma once

namespace indexcache::kernels {

__device__ inline float silu_times(float gate, float up, float limit) {
  if (limit < INFINITY) {
    gate = fminf(gate, limit);
    up = fminf(fmaxf(up, -limit), limit);
  }
  return gate / (1.0f + expf(-gate)) * up;
}

}  // namespace indexcache::kernels
