// SPDX-License-Identifier: Apache-2.0
// Numbers for synthetic weights: uniform in [-scale, scale), a function of only seed and index
// (SplitMix64), so that every device makes the same numbers.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct RandomParams {
  void* out;  // type [elements]
  Type type;  // f32, bf16 or e4m3
  std::int64_t elements;
  float scale;
  float offset;  // added: 1 for norm weights
  std::uint64_t seed;
};

cudaError_t fill_random(const RandomParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
