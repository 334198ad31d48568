// SPDX-License-Identifier: Apache-2.0
// Where the running softmax of a head begins: a sink is a logit that comes before all keys.
#pragma once

#include "kernels/common.cuh"
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
__device__ inline float first_sum(const SparseAttentionParams& p, int head) {
  return has_sink(p, head) ? 1.0f : 0.0f;
}

}  // namespace indexcache::kernels
