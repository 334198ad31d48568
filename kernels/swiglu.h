// SPDX-License-Identifier: Apache-2.0
// SwiGLU: out = silu(gate) * up, silu(x) = x / (1 + exp(-x)), in float32. A limit below infinity
// first clamps gate to at most `limit`, and up to [-limit, limit].
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct SwigluParams {
  const void* gate_up;  // type [rows, 2 * width]: gate, then up
  void* out;            // type [rows, width]
  Type type;
  std::int64_t rows, width;
  float limit;
};

cudaError_t swiglu(const SwigluParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
