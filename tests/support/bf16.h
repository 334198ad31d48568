// SPDX-License-Identifier: Apache-2.0
// Rounding to bf16, as the format is defined: shares no code with the program.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace indexcache::test {

// The nearest bf16, ties to even.
inline float to_bf16(float x) {
  auto bits = std::bit_cast<std::uint32_t>(x);
  bits += 0x7fffu + (bits >> 16 & 1u);
  return std::bit_cast<float>(bits & 0xffff0000u);
}

inline std::vector<float> to_bf16(std::vector<float> values) {
  for (float& value : values) value = to_bf16(value);
  return values;
}

}  // namespace indexcache::test
