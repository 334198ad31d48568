// SPDX-License-Identifier: Apache-2.0
// Blocks of FP8 matrices that share a scale, as released checkpoints have them (docs/numerics.md,
// FP8): 128 x 128 elements, partial at the edges. Activations share one for 128 columns of a row.
#pragma once

#include <cstdint>

namespace indexcache {

inline constexpr std::int64_t kScaleBlock = 128;

// How many blocks cover `extent` rows or columns.
constexpr std::int64_t scale_blocks(std::int64_t extent) {
  return (extent + kScaleBlock - 1) / kScaleBlock;
}

}  // namespace indexcache
