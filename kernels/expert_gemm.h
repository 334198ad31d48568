// SPDX-License-Identifier: Apache-2.0
// Products of rows that are grouped by expert with the matrix of their expert, all experts in one
// launch and without the host knowing how many rows each has:
//   out[slot] = x[slot] weights[e]^T for the slots of expert e, which follow those of expert e - 1.
// For experts that are too small for a launch each; large ones go through cuBLASLt. Tiles of 64 x
// 64, bf16 with warp-level tensor cores, float32 with FMAs in ascending order of depth; float32
// sums.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kMostGroupedExperts = 256;

struct ExpertGemmParams {
  const void* x;                             // type [slots, depth], 16-byte aligned
  const void* weights[kMostGroupedExperts];  // type [cols, depth] each, 16-byte aligned
  void* out;                                 // type [slots, cols]
  Type type;                                 // f32 or bf16
  const std::int32_t* counts;                // [experts] slots of each; they add up to `slots`
  int experts;
  std::int64_t slots;
  int cols;
  int depth;  // a multiple of 4 (f32) or 8 (bf16)
};

cudaError_t expert_gemm(const ExpertGemmParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
