// SPDX-License-Identifier: Apache-2.0
// float32 rounded to the smaller types of checkpoints: the inverses of the conversions of dtype.h.
// Ties go to the even neighbor.
#pragma once

#include "core/dtype.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace indexcache {

// The bits of a finite value of at least 0 in a type with `mantissa` bits after the point and the
// least normal number 2^`least`. Values beyond the largest number get the bits that would follow.
inline std::uint32_t small_float_bits(float value, int mantissa, int least) {
  const int exponent = static_cast<int>(std::bit_cast<std::uint32_t>(value) >> 23) - 127;
  const int lowest = std::max(exponent, least);
  // A power of two: the product is exact, and its integers are the numbers of the type.
  const auto scale =
      std::bit_cast<float>(static_cast<std::uint32_t>(127 + mantissa - lowest) << 23);
  const auto steps = static_cast<std::uint32_t>(std::nearbyint(value * scale));
  return (static_cast<std::uint32_t>(lowest - least) << mantissa) + steps;
}

// NaN stays NaN; what is too large becomes infinity.
inline std::uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// NaN stays NaN; what is too large becomes infinity.
inline std::uint16_t float_to_f16(float value) {
  const std::uint32_t sign = std::signbit(value) ? 0x8000u : 0u;
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | 0x7e00u);
  const float magnitude = std::min(std::abs(value), 65536.0f);
  return static_cast<std::uint16_t>(sign | small_float_bits(magnitude, 10, -14));
}

// What is too large becomes the largest number, 448: the type has no infinity. `value` is not NaN.
inline std::uint8_t float_to_e4m3(float value) {
  const std::uint32_t sign = std::signbit(value) ? 0x80u : 0u;
  const float magnitude = std::min(std::abs(value), kLargestE4m3);
  return static_cast<std::uint8_t>(sign | small_float_bits(magnitude, 3, -6));
}

// E2M1 in the low four bits. What is too large becomes the largest number, 6. `value` is not NaN.
inline std::uint8_t float_to_e2m1(float value) {
  const std::uint32_t sign = std::signbit(value) ? 8u : 0u;
  const float magnitude = std::min(std::abs(value), kLargestE2m1);
  return static_cast<std::uint8_t>(sign | small_float_bits(magnitude, 1, 0));
}

// The least power of two that is at least `value`, which is a normal number greater than 0 and at
// most 2^127.
inline float power_of_two_above(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value) + 0x7fffffu;
  return std::bit_cast<float>(bits & 0x7f800000u);
}

// Whether `value` is 2^k for an integer k.
inline bool is_power_of_two(float value) {
  int exponent = 0;
  return std::isfinite(value) && value > 0 && std::frexp(value, &exponent) == 0.5f;
}

}  // namespace indexcache
