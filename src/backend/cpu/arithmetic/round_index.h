// SPDX-License-Identifier: Apache-2.0
// Queries and keys of the indexer as they are deployed (docs/numerics.md, Precision of the
// indexer).
#pragma once

#include "backend/cpu/arithmetic/e4m3.h"
#include "backend/precision.h"
#include "core/dtype.h"
#include "core/narrow.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace indexcache::cpu {

inline constexpr std::int64_t kE2m1Group = 32;  // numbers that share a scale

inline float rounded_to_bf16(float x) {
  return bf16_to_float(float_to_bf16(x));
}

// The Hadamard transform (Sylvester order, times width^-0.5) of x, which is rounded to bf16 before
// and after, in the order of operations of kernels/quantize_index.h. `width` is a power of two; x
// may be `rotated`.
inline void rotate_index(const float* x, std::int64_t width, float* rotated) {
  for (std::int64_t i = 0; i < width; ++i) rotated[i] = rounded_to_bf16(x[i]);
  for (std::int64_t step = 1; step < width; step *= 2) {
    for (std::int64_t i = 0; i < width; ++i) {
      if ((i & step) != 0) continue;
      const float a = rotated[i], b = rotated[i + step];
      rotated[i] = a + b;
      rotated[i + step] = a - b;
    }
  }
  const float norm = 1.0f / std::sqrt(static_cast<float>(width));
  for (std::int64_t i = 0; i < width; ++i) rotated[i] = rounded_to_bf16(rotated[i] * norm);
}

inline float largest_magnitude(const float* x, std::int64_t count, float least) {
  for (std::int64_t i = 0; i < count; ++i) least = std::max(least, std::abs(x[i]));
  return least;
}

// A vector as FP8: its numbers become codes times the scale that is returned.
inline float quantize_index(const float* x, std::int64_t width, float* rotated,
                            std::uint8_t* codes) {
  rotate_index(x, width, rotated);
  const float scale = power_of_two_above(largest_magnitude(rotated, width, 1e-4f) / kLargestE4m3);
  for (std::int64_t i = 0; i < width; ++i) codes[i] = float_to_e4m3(rotated[i] / scale);
  return scale;
}

// What the vector x is worth after it was stored, in place. A scale of FP8 is that of the vector,
// of FP4 that of kE2m1Group numbers; both are powers of two.
inline void round_index(Precision precision, std::int64_t width, float* x) {
  if (precision == Precision::fp32) return;
  if (precision == Precision::bf16) {
    return std::transform(x, x + width, x, rounded_to_bf16), void();
  }
  rotate_index(x, width, x);
  const bool fp8 = precision == Precision::fp8;
  const std::int64_t group = fp8 ? width : std::min(kE2m1Group, width);
  const float most = fp8 ? kLargestE4m3 : kLargestE2m1;
  const float least = fp8 ? 1e-4f : kLargestE2m1 * 0x1p-126f;
  for (float* of_group = x; of_group != x + width; of_group += group) {
    const float scale = power_of_two_above(largest_magnitude(of_group, group, least) / most);
    for (std::int64_t i = 0; i < group; ++i) {
      const float scaled = of_group[i] / scale;
      of_group[i] =
          scale * (fp8 ? kE4m3[float_to_e4m3(scaled)] : e2m1_to_float(float_to_e2m1(scaled)));
    }
  }
}

}  // namespace indexcache::cpu
