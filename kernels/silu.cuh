// SPDX-License-Identifier: Apache-2.0
// silu(gate) * up, silu(x) = x / (1 + exp(-x)).
#pragma once

namespace indexcache::kernels {

__device__ inline float silu_times(float gate, float up) {
  return gate / (1.0f + expf(-gate)) * up;
}

}  // namespace indexcache::kernels
