// SPDX-License-Identifier: Apache-2.0
// Backward of LayerNorm (norm.h). With x' = (x - mean) / sqrt(variance + eps) of a row and
// d = weight * d_out:
//   d_weight[c] += sum over t of d_out[t, c] * x'[t, c],   d_bias[c] += sum over t of d_out[t, c]
//   d_out[t]    <- (d - mean(d) - x' * mean(d * x')) / sqrt(variance + eps)
// float32. One warp per row, eight rows after each other; blocks of kNormBackwardRows rows leave
// their sums in `parts`, and a second kernel adds those in ascending order.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kNormBackwardRows = 64;            // of a block
inline constexpr int kMostNormBackwardWidth = 3 << 10;  // 8 warps' sums in shared memory

struct LayerNormBackwardParams {
  const void* x;  // x_type [rows, width]
  Type x_type;    // f32 or bf16
  std::int64_t x_stride;
  const float* weight;  // [width]
  float eps;
  float* d_out;  // [rows, width]
  std::int64_t d_out_stride;
  float* d_weight;  // [width]
  float* d_bias;    // [width]
  float* parts;     // [ceil(rows / kNormBackwardRows), 2, width] scratch
  std::int64_t rows;
  int width;  // at most kMostNormBackwardWidth
};

cudaError_t layer_norm_backward(const LayerNormBackwardParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
