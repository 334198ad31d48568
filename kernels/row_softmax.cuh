// SPDX-License-Identifier: Apache-2.0
// The running softmax of sparse_attention_sm90.cu, for scores as warpgroup products leave them: a
// thread has two rows, which are heads, and of every eight columns, which are keys, two.
#pragma once

#include "kernels/attention_rows.cuh"

namespace indexcache::kernels {

// Running maximum (times the factor) and sum of the two heads, rows, that a thread has a part of.
struct Softmax {
  float peak[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};

  // Begins with the sinks of the two heads; `counts`: their exponentials are part of
  // this thread's sums.
  __device__ void begin(const SparseAttentionParams& p, const int (&heads)[2], bool counts) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      peak[r] = first_exponent(p, heads[r]);
      sum[r] = counts ? first_sum(p, heads[r]) : 0.0f;
    }
  }

  // Turns the scores of some keys into exponentials; returns by how much earlier sums shrink.
  template <int Count>
  __device__ void update(float (&s)[Count], int valid, float factor, float (&shrink)[2]) {
    const int quad = static_cast<int>(threadIdx.x) % 4;
    if (valid < 2 * Count) {
#pragma unroll
      for (int i = 0; i < Count; ++i) {
        if (i / 4 * 8 + 2 * quad + i % 2 >= valid) s[i] = -INFINITY;
      }
    }
    float top[2] = {s[0], s[2]};
#pragma unroll
    for (int i = 0; i < Count; ++i) top[i / 2 % 2] = fmaxf(top[i / 2 % 2], s[i]);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      for (int offset = 1; offset < 4; offset *= 2) {
        top[r] = fmaxf(top[r], __shfl_xor_sync(kAllLanes, top[r], offset));
      }
      top[r] = fmaxf(peak[r], top[r] * factor);
      shrink[r] = exponential(peak[r] - top[r]);
      sum[r] *= shrink[r];
      peak[r] = top[r];
    }
#pragma unroll
    for (int i = 0; i < Count; ++i) s[i] = exponential(fmaf(s[i], factor, -peak[i / 2 % 2]));
  }

  template <int Count>
  __device__ void add(const float (&s)[Count]) {
#pragma unroll
    for (int i = 0; i < Count; ++i) sum[i / 2 % 2] += s[i];
  }

  // The maximum after keys of the other warpgroup; by how much earlier sums shrink.
  __device__ void raise(const float (&top)[2], float (&shrink)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      shrink[r] = exponential(peak[r] - top[r]);
      sum[r] *= shrink[r];
      peak[r] = top[r];
    }
  }

  // Adds the four lanes of a row.
  __device__ float total(int r) const {
    float x = sum[r];
    for (int offset = 1; offset < 4; offset *= 2) x += __shfl_xor_sync(kAllLanes, x, offset);
    return x;
  }
};

}  // namespace indexcache::kernels
