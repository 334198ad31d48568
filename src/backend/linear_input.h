// SPDX-License-Identifier: Apache-2.0
// What linear layers multiply: rows of activations, made once for all products that read them.
#pragma once

#include "backend/tensor.h"

#include <cstdint>
#include <utility>

namespace indexcache {

// Rows of activation() [rows, n] and, if the device multiplies quantized rows by weights in FP8,
// the same rows quantized as such products take them (docs/numerics.md, FP8). Without these, a
// product quantizes what it reads by itself: bits do not depend on it.
struct LinearInput {
  Tensor plain;
  Tensor quantized;  // f8_e4m3 [rows, n] without gaps, or empty
  Tensor scales;     // f32 [rows, scale_blocks(n)] of `quantized`

  LinearInput() = default;
  // Implicit: every tensor of activations can be multiplied.
  LinearInput(Tensor rows, Tensor e4m3 = {}, Tensor of_groups = {})
      : plain(std::move(rows)), quantized(std::move(e4m3)), scales(std::move(of_groups)) {}

  // Columns [first, first + count) of every row; quantized only if these are all of them.
  LinearInput columns(std::int64_t first, std::int64_t count) const {
    if (count == plain.cols()) return *this;
    return plain.columns(first, count);
  }
};

}  // namespace indexcache
