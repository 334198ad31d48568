// SPDX-License-Identifier: Apache-2.0
#include "io/json.h"

#include "core/error.h"
#include "support/catch.h"

#include <algorithm>
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

TEST_CASE("JSON of other programs is read as Python reads it, strict values stay strict") {
  const Json json = parse_foreign_json(
      R"({"a": NaN, "b": [Infinity, -Infinity, 1e999, -1e999], "c": "\ud83d",
          "d": "NaN \ud83d\ude00",
          "e\udc00": 1, "f": -0.5e3, "g": "\\ud83d \"NaN"})",
      "x");
  CHECK(std::isnan(json["a"].get<double>()));
  CHECK(json["a"].is_number_float());
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK(json["b"] == Json({infinity, -infinity, infinity, -infinity}));
  CHECK(json["c"] == "\uFFFD");
  CHECK(json["d"] == "NaN \U0001F600");
  CHECK(json.contains("e\uFFFD"));
  CHECK(json["f"] == -500);
  CHECK(json["g"] == "\\ud83d \"NaN");
  CHECK(described(json["a"]) == "NaN");
  CHECK(described(json["b"][3]) == "-Infinity");
  CHECK(parse_foreign_json("\xEF\xBB\xBF{\"a\": 1}\r\n", "x")["a"] == 1);
  for (const char* text : {"{\"a\": NaN}", "[Infinity]", "[\"\\ud83d\"]", "[1e999]"}) {
    CHECK_THROWS_AS(parse_json(text, "x"), InputError);
  }
  for (const char* text :
       {"{\"a\": nan}", "[NaNs]", "[+Infinity]", "[Infinity Infinity]", "{NaN: 1}", "[\"\\ud83\"]",
        "NaN \"\\u007f\"", "[NaN, \"\x7F\"]", "[\"\\ud83d"}) {
    INFO(text);
    CHECK_THROWS_AS(parse_foreign_json(text, "x"), InputError);
  }
}

TEST_CASE("JSON of other programs is written back as it was") {
  const std::string text = R"({"a":NaN,"b":[Infinity,-Infinity],"number ":"number NaN","c":1.5})";
  CHECK(foreign_json_text(parse_foreign_json(text, "x"), -1) == text);
  const Json plain{{"a", 1}};
  CHECK(foreign_json_text(plain, 2) == plain.dump(2));
}

TEST_CASE("an error about JSON has its place and little of the text") {
  const auto refusal = [](const std::string& text) {
    try {
      parse_json_document(text, {"f.json", 7, 3}, "");
      return std::string("accepted");
    } catch (const InputError& error) {
      return error.describe();
    }
  };
  using test::Contains;
  CHECK_THAT(
      refusal("{\"a\": oops}"),
      Contains("at:  f.json:7:9\n") && Contains("why: invalid literal, near \"{\"a\": oops}\""));
  CHECK_THAT(refusal("{\n\"a\":\n  oops}"), Contains("at:  f.json:9:3\n"));
  CHECK_THAT(refusal("[1, 2"), Contains("f.json:7:8\n") && Contains("unexpected end of input"));
  CHECK_THAT(refusal("[\"\xFF\"]"), Contains("f.json:7:5\n") && Contains("UTF-8"));
  CHECK_THAT(refusal(std::string(600, '[')), Contains("nested more than 500 levels"));
  CHECK_THAT(refusal(std::string("{\0\"\0a\0", 6)), Contains("UTF-16LE"));
  CHECK(refusal("{\"a\": 1, \"a\": 2}") == "accepted");
  std::size_t longest = 0;
  for (const char* end : {"", "\x01\"]", "\xFF\"]", "\\x\"]", "\"}", "\" \""}) {
    longest = std::max(longest, refusal("[\"" + std::string(1 << 20, 'x') + end).size());
  }
  CHECK(longest < 300);
}
