// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding of heads: the pair (u, v) becomes (u cos - v sin, u sin + v cos), with
// pairs (2j, 2j + 1) or (j, j + width / 2). Arithmetic in float32; out may be x, because a thread
// reads its pair before it writes it.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct RopeParams {
  const void* x;  // type [rows, heads, width], head_stride between heads
  void* out;      // type [rows, heads, width]
  Type type;
  std::int64_t x_stride, x_head_stride;
  std::int64_t out_stride, out_head_stride;
  const RowPlace* places;  // [rows]
  const float* cosines;    // [positions, width / 2]
  const float* sines;      // [positions, width / 2]
  std::int64_t rows, heads, width;
  bool interleaved;
};

cudaError_t rope(const RopeParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
