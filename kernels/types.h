// SPDX-License-Identifier: Apache-2.0
// Plain types that kernel parameters share.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace indexcache::kernels {

// Element type of an activation or weight.
enum class Type { f32, bf16, f16, e4m3 };

// The place of a row: its position in its sequence, and the row of the key tensor that holds
// position 0 of that sequence. Candidates of the row are key rows [key_base, key_base + position].
struct RowPlace {
  int position;
  int key_base;
};

// Consecutive rows of one sequence, for kernels that work on tiles of rows.
struct KeySegment {
  int first_row;  // in the row dimension of queries and results
  int rows;
  int first_position;  // of first_row in its sequence
  int key_base;        // row of position 0 in the key tensor
};

}  // namespace indexcache::kernels
