// SPDX-License-Identifier: Apache-2.0
// Products of groups of rows, each with a matrix of its own, in one launch:
//   out[i, c] (+)= sum_d x[i, d] weight_g[c, d],   rows i of group g consecutive ("slots").
// A plain product is one group.
//
// e4m3 (docs/numerics.md, FP8): x has a scale for every row and 128 columns, a weight one for every
// 128 x 128; products of 128 columns are summed by the tensor cores and added up in float32:
//   out = sum_b (x_scale[i, b] * w_scale[c / 128, b]) * sum_{d in block b} x w
// in ascending order of b, by fused multiply-add. bf16: sums in float32, in ascending order of
// steps of 16 columns. A slot's bits depend on nothing else in the launch.
//
// Gated products (bf16) are SwiGLU of these results rounded to bf16 (swiglu.h): weights have `gate`
// rows and as many `up` rows below them, and out has a column for every two of them.
//
// Only Hopper, and only widths that 16-byte copies can read: grouped_gemm_applies() says.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

// One group's matrix: [cols, depth] of bf16 or e4m3 without gaps, 16-byte aligned.
struct GroupedWeight {
  const void* data;
  const float* scales;  // e4m3: [ceil(cols / 128), ceil(depth / 128)], else null
};

struct GroupedGemmParams {
  const void* x;  // type [slots, x_stride], 16-byte aligned
  Type type;      // bf16 or e4m3, of x and the weights
  std::int64_t x_stride;
  const float* x_scales;         // e4m3: [slots, ceil(depth / 128)], else null
  const GroupedWeight* weights;  // [groups], in device memory
  const std::int32_t* counts;    // [groups] slots of each, in device memory; null: one group
  int groups;
  std::int64_t slots;  // of all groups
  int cols, depth;     // of a weight
  void* out;           // out_type [slots, out_stride], 16-byte aligned
  Type out_type;       // bf16 or f32
  std::int64_t out_stride;
  bool accumulate;        // f32 only
  bool gated;             // bf16 only
  float limit;            // of SwiGLU, if gated
  std::int32_t* scratch;  // [grouped_gemm_scratch(groups)] in device memory, of this launch only,
                          // 128-byte aligned
};

// Two maps for every group, its first tile and slot, and the number of tiles taken.
constexpr std::int64_t grouped_gemm_scratch(std::int64_t groups) {
  constexpr std::int64_t kMapWords = 128 / 4;
  return groups * 2 * kMapWords + 2 * (groups + 1) + 1;
}

bool grouped_gemm_applies(const GroupedGemmParams& params);
cudaError_t grouped_gemm(const GroupedGemmParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
