// SPDX-License-Identifier: Apache-2.0
// Plain types that kernel parameters share.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace indexcache::kernels {

// Element type of an activation or weight. e2m1 is FP4 as checkpoints store it: two numbers in a
// byte, the first in the low four bits. e8m0, of scales, is a power of two (OCP MX).
enum class Type { f32, bf16, f16, e4m3, e2m1, e8m0 };

// The place of a row: its position in its sequence, and its candidates, which are key rows
// [key_base, key_base + candidates). Sets and columns of scores count from key_base.
struct RowPlace {
  int position;
  int candidates;
  int key_base;
};

// Consecutive rows of one sequence, for kernels that work on tiles of rows.
struct KeySegment {
  int first_row;  // in the row dimension of queries and results
  int rows;
  int first_position;     // of first_row in its sequence
  int key_base;           // row in the key tensor where candidates of the sequence begin
  int positions_per_key;  // a key is a candidate from the last of its positions on

  // Candidates of row i of the segment. It divides: call it once per row or tile, not per key.
  __host__ __device__ int candidates(int i) const {
    return (first_position + i + 1) / positions_per_key;
  }
  // The same question from the side of a key, without a division: the first row that has candidate
  // u, which may be less than 0 or not less than `rows`.
  __host__ __device__ int first_seeing(int u) const {
    return (u + 1) * positions_per_key - 1 - first_position;
  }
};

}  // namespace indexcache::kernels
