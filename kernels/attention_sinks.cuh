// SPDX-License-Identifier: Apache-2.0
// Where the running softmax of a head begins: a sink is a logit that comes before all keys.
#pragma once

#include "kernels/common.cuh"
#include "kernels/exponential.cuh"
#include "kernels/sparse_attention.h"

namespace indexcache::kernels {

// Heads that fill up a tile and do not exist have no sink.
__device__ inline bool has_sink(const SparseAttentionParams& p, int head) {
  return p.sinks != nullptr && head < p.heads;
}

// Less than any score, but finite: before its first key, a head may meet keys that do not count.
inline constexpr float kNoPeak = -1e30f;

// The maximum, and the sum of exponentials relative to it.
__device__ inline float first_peak(const SparseAttentionParams& p, int head) {
  return has_sink(p, head) ? p.sinks[head] : kNoPeak;
}
// The maximum as an exponent of two. Neither value is a product that the compiler sees: it would
// turn the difference of the product and a maximum equal to it into one fma, which is not 0 but
// the rounding of the product, for kNoPeak some 1e22.
__device__ inline float first_exponent(const SparseAttentionParams& p, int head) {
  return has_sink(p, head) ? __fmul_rn(p.sinks[head], kLog2E) : kNoPeak;
}
__device__ inline float first_sum(const SparseAttentionParams& p, int head) {
  return has_sink(p, head) ? 1.0f : 0.0f;
}

}  // namespace indexcache::kernels
