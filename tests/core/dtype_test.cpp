// SPDX-License-Identifier: Apache-2.0
#include "core/dtype.h"

#include "support/catch.h"

#include <cmath>

using namespace indexcache;

namespace {

// Value of sign, exponent and mantissa fields by their definition.
double by_fields(unsigned bits, int exponent_bits, int mantissa_bits, int bias) {
  const int sign = static_cast<int>(bits >> (exponent_bits + mantissa_bits)) & 1;
  const int exponent = static_cast<int>(bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = static_cast<int>(bits) & ((1 << mantissa_bits) - 1);
  const double fraction = static_cast<double>(mantissa) / (1 << mantissa_bits);
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
  return sign != 0 ? -magnitude : magnitude;
}

}  // namespace

TEST_CASE("every bf16, f16, e4m3 and e8m0 code converts to its definition") {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const float bf16 = bf16_to_float(static_cast<std::uint16_t>(bits));
    const bool bf16_special = ((bits >> 7) & 0xff) == 0xff;
    if (!bf16_special && static_cast<double>(bf16) != by_fields(bits, 8, 7, 127)) FAIL(bits);
    const float f16 = f16_to_float(static_cast<std::uint16_t>(bits));
    const bool f16_special = ((bits >> 10) & 0x1f) == 0x1f;
    if (!f16_special && static_cast<double>(f16) != by_fields(bits, 5, 10, 15)) FAIL(bits);
    if (f16_special && std::isfinite(f16)) FAIL(bits);
  }
  for (unsigned bits = 0; bits < 256; ++bits) {
    const float e4m3 = e4m3_to_float(static_cast<std::uint8_t>(bits));
    if ((bits & 0x7f) == 0x7f) {
      CHECK(std::isnan(e4m3));
    } else if (static_cast<double>(e4m3) != by_fields(bits, 4, 3, 7)) {
      FAIL(bits);
    }
    const float e8m0 = e8m0_to_float(static_cast<std::uint8_t>(bits));
    if (bits == 255) {
      CHECK(std::isnan(e8m0));
    } else if (static_cast<double>(e8m0) != std::ldexp(1.0, static_cast<int>(bits) - 127)) {
      FAIL(bits);
    }
  }
  CHECK(e4m3_to_float(0x7e) == 448.0f);
  CHECK(std::isinf(f16_to_float(0x7c00)));
  CHECK(std::signbit(f16_to_float(0x8000)));
}

TEST_CASE("dtype names round-trip") {
  for (DType type : {DType::f32, DType::bf16, DType::f16, DType::f8_e4m3, DType::f8_e8m0,
                     DType::i64, DType::i32, DType::u8}) {
    CHECK(dtype_named(name_of(type)) == type);
  }
  CHECK_FALSE(dtype_named("F64").has_value());
}
