// SPDX-License-Identifier: Apache-2.0
#include "core/narrow.h"

#include "core/dtype.h"
#include "support/catch.h"

#include <limits>
#include <vector>

using namespace indexcache;

namespace {

// The finite numbers of a type, of at least 0, in order of their bits.
template <typename Widen>
std::vector<float> numbers(std::uint32_t count, Widen widen) {
  std::vector<float> values;
  for (std::uint32_t bits = 0; bits < count; ++bits) values.push_back(widen(bits));
  return values;
}

// Every number is itself, and between two neighbors the middle goes to the even one.
template <typename Narrow>
int mistakes(const std::vector<float>& values, Narrow narrow, std::uint32_t sign) {
  int count = 0;
  for (std::uint32_t i = 0; i < values.size(); ++i) {
    count += narrow(values[i]) != i;
    count += narrow(-values[i]) != (i | sign);
    if (i + 1 == values.size()) continue;
    const float middle = values[i] + (values[i + 1] - values[i]) / 2;  // exact
    const std::uint32_t even = i % 2 == 0 ? i : i + 1;
    count += narrow(middle) != even;
    count += narrow(std::nextafter(middle, 0.0f)) != i;
    count += narrow(std::nextafter(middle, 3e38f)) != i + 1;
    count += narrow(-middle) != (even | sign);
  }
  return count;
}

}  // namespace

TEST_CASE("small floats are rounded to the nearest, ties to even, over their whole range") {
  const auto f16 = numbers(0x7c00, [](std::uint32_t b) { return f16_to_float(b & 0xffff); });
  CHECK(mistakes(f16, float_to_f16, 0x8000) == 0);
  const auto e4m3 = numbers(0x7f, [](std::uint32_t b) { return e4m3_to_float(b & 0xff); });
  CHECK(mistakes(e4m3, float_to_e4m3, 0x80) == 0);
  const auto e2m1 = numbers(8, [](std::uint32_t b) { return e2m1_to_float(b & 0xf); });
  CHECK(mistakes(e2m1, float_to_e2m1, 8) == 0);
  const auto bf16 = numbers(0x7f00, [](std::uint32_t b) { return bf16_to_float(b & 0xffff); });
  CHECK(mistakes(bf16, float_to_bf16, 0x8000) == 0);
}

TEST_CASE("what is too large for a small float, and NaN") {
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(float_to_f16(65519) == 0x7bff);
  CHECK(float_to_f16(65520) == 0x7c00);
  CHECK(float_to_f16(-infinity) == 0xfc00);
  CHECK(float_to_e4m3(464) == 0x7e);
  CHECK(float_to_e4m3(-1e30f) == 0xfe);
  CHECK(float_to_e2m1(7) == 0x7);
  CHECK(float_to_e2m1(-infinity) == 0xf);
  CHECK(float_to_bf16(std::numeric_limits<float>::max()) == 0x7f80);
  CHECK(float_to_bf16(infinity) == 0x7f80);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(bf16_to_float(float_to_bf16(nan))));
  CHECK(std::isnan(f16_to_float(float_to_f16(nan))));
}

TEST_CASE("powers of two") {
  CHECK(power_of_two_above(1) == 1);
  CHECK(power_of_two_above(std::nextafter(1.0f, 2.0f)) == 2);
  CHECK(power_of_two_above(0x1.8p-7f) == 0x1p-6f);
  CHECK(power_of_two_above(0x1p-126f) == 0x1p-126f);
  CHECK(is_power_of_two(0x1p-140f));
  CHECK(is_power_of_two(4));
  CHECK_FALSE(is_power_of_two(3));
  CHECK_FALSE(is_power_of_two(-2));
  CHECK_FALSE(is_power_of_two(0));
}
