// SPDX-License-Identifier: Apache-2.0
#include "io/json.h"

#include "core/error.h"
#include "support/catch.h"

#include <cmath>
#include <limits>

using namespace indexcache;

TEST_CASE("a double survives hexadecimal text bit for bit") {
  for (double value : {1.7974603176116943, 0.1, -0.0, 1e-310, 0x1.fffffffffffffp+1023}) {
    const auto back = parse_hex_float(hex_float(value));
    REQUIRE(back.has_value());
    CHECK(std::bit_cast<std::uint64_t>(*back) == std::bit_cast<std::uint64_t>(value));
  }
  CHECK_FALSE(parse_hex_float("").has_value());
  CHECK_FALSE(parse_hex_float("0x1p0x").has_value());
  CHECK_FALSE(parse_hex_float("nan").has_value());
}

TEST_CASE("broken JSON and a repeated key are refused with the place") {
  CHECK(parse_json(R"({"a": {"b": 1}, "c": {"b": 2}})", "x")["c"]["b"] == 2);
  CHECK_THROWS_AS(parse_json("{", "x"), InputError);
  CHECK_THROWS_AS(parse_json("{} trailing", "x"), InputError);
  try {
    parse_json(R"({"a": 1, "a": 2})", "file.json");
    FAIL();
  } catch (const InputError& error) {
    CHECK(error.problem().where == "file.json");
    CHECK(error.problem().why == "duplicate key \"a\" in an object");
  }
}

TEST_CASE("what is another kind of file is not called broken JSON") {
  using test::Contains;
  CHECK_THROWS_WITH(parse_json("version https://git-lfs.github.com/spec/v1\n", "x"),
                    Contains("a Git LFS pointer, not JSON"));
  CHECK_THROWS_WITH(parse_large_json("<html>", "x", ""), Contains("an HTML or XML page"));
  CHECK_THROWS_WITH(parse_strict_large_json("\x1f\x8b\x08", "x", ""), Contains("gzip"));
  CHECK_THROWS_WITH(parse_json("\xff\xfe{", "x"), Contains("UTF-16"));
  CHECK_THROWS_WITH(parse_json("{]", "x"), Contains("invalid JSON"));
}
