// SPDX-License-Identifier: Apache-2.0
// Element types met in checkpoints and their exact conversion to float.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace indexcache {

// `other` is any type that no computation here knows; an i8 is two numbers of FP4 (E2M1), the first
// in the low four bits.
enum class DType { f32, bf16, f16, f8_e4m3, f8_e8m0, i64, i32, i8, u8, other };

constexpr std::size_t size_of(DType type) {
  switch (type) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
    case DType::f16:
      return 2;
    case DType::i64:
      return 8;
    case DType::f8_e4m3:
    case DType::f8_e8m0:
    case DType::i8:
    case DType::u8:
      return 1;
    case DType::other:
      return 0;
  }
  return 0;
}

// Names as in safetensors headers.
constexpr std::string_view name_of(DType type) {
  switch (type) {
    case DType::f32:
      return "F32";
    case DType::bf16:
      return "BF16";
    case DType::f16:
      return "F16";
    case DType::f8_e4m3:
      return "F8_E4M3";
    case DType::f8_e8m0:
      return "F8_E8M0";
    case DType::i64:
      return "I64";
    case DType::i32:
      return "I32";
    case DType::i8:
      return "I8";
    case DType::u8:
      return "U8";
    case DType::other:
      return "?";
  }
  return "?";
}

constexpr std::optional<DType> dtype_named(std::string_view name) {
  for (DType type : {DType::f32, DType::bf16, DType::f16, DType::f8_e4m3, DType::f8_e8m0,
                     DType::i64, DType::i32, DType::i8, DType::u8}) {
    if (name == name_of(type)) return type;
  }
  return std::nullopt;
}

constexpr float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

// IEEE 754 binary16, subnormals, infinities and NaN included.
constexpr float f16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    const float value = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  const std::uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | (wide << 23) | (mantissa << 13));
}

inline constexpr float kLargestE4m3 = 448.0f;

// E4M3FN (OCP FP8): bias 7, no infinities, 0x7f and 0xff are NaN, largest 448.
constexpr float e4m3_to_float(std::uint8_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x80u) << 24;
  const std::uint32_t exponent = (bits >> 3) & 0xfu;
  const std::uint32_t mantissa = bits & 0x7u;
  if (exponent == 15 && mantissa == 7) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-9
    const float value = static_cast<float>(mantissa) * 0x1p-9f;
    return sign != 0 ? -value : value;
  }
  return std::bit_cast<float>(sign | ((exponent + 120) << 23) | (mantissa << 20));
}

// E8M0 (OCP MX scale): 2^(bits - 127), 0xff is NaN.
constexpr float e8m0_to_float(std::uint8_t bits) {
  if (bits == 0xff) return std::bit_cast<float>(0x7fc00000u);
  if (bits == 0) return 0x1p-127f;
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 23);
}

inline constexpr float kLargestE2m1 = 6.0f;

// E2M1 (OCP MX FP4) of the low four bits: sign, two bits of exponent, one of mantissa.
constexpr float e2m1_to_float(std::uint8_t bits) {
  constexpr float kMagnitudes[] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  const float magnitude = kMagnitudes[bits & 7];
  return (bits & 8) != 0 ? -magnitude : magnitude;
}

}  // namespace indexcache
