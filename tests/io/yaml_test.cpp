// SPDX-License-Identifier: Apache-2.0
#include "io/yaml.h"

#include "core/error.h"
#include "support/catch.h"

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("YAML becomes JSON values with their types") {
  const Json json = parse_yaml(
      "a: 1\nb: 1.5\nc: true\nd: null\ne: FSF\nf: \"1\"\ng: [1, x, ~]\nh: {i: -2e-3}\nj: 1e999\n",
      "x");
  CHECK(json == Json::parse(R"({"a":1,"b":1.5,"c":true,"d":null,"e":"FSF","f":"1",
                               "g":[1,"x",null],"h":{"i":-0.002},"j":"1e999"})"));
  CHECK(parse_yaml("FSF\n", "x") == "FSF");
  CHECK(parse_yaml("", "x").is_null());
  CHECK(parse_yaml("[0x10, 010, inf, .nan, 1_0]", "x") ==
        Json::parse(R"(["0x10",10,"inf",".nan","1_0"])"));
}

TEST_CASE("scalars stay text as written where that is asked for, null excepted") {
  const Json json = parse_yaml("a: 0.50\nb: [007, true, 1e3]\nc: ~\nd: {e: \"x\"}\n", "x", nullptr,
                               YamlScalars::text);
  CHECK(json == Json::parse(R"({"a":"0.50","b":["007","true","1e3"],"c":null,"d":{"e":"x"}})"));
}

TEST_CASE("YAML keys know their lines") {
  YamlLines lines;
  parse_yaml("schema: 1\nguards:\n  a: 1\n\n  b: [2,\n   3]\n", "x", &lines);
  CHECK(lines.at("/guards") == 2);
  CHECK(lines.at("/guards/b") == 5);
  CHECK(lines.at("/guards/b/1") == 6);
}

TEST_CASE("YAML that is none, repeats a key or expands without end is refused with its line") {
  CHECK_THROWS_WITH(parse_yaml("a: [1\nb: 2\n", "f.yaml"), Contains("not valid YAML"));
  CHECK_THROWS_AS(parse_yaml("a: 1\na: 2\n", "f.yaml"), InputError);
  try {
    parse_yaml("a: 1\nb: 2\na: 2\n", "f.yaml");
  } catch (const InputError& error) {
    CHECK_THAT(error.describe(), Contains("f.yaml:3") && Contains("duplicate key \"a\""));
  }
  CHECK_THROWS_AS(parse_yaml("? [1, 2]\n: 3\n", "f.yaml"), InputError);
  std::string bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n";
  for (char name = 'b'; name < 'j'; ++name) {
    const std::string before = std::string("*") + static_cast<char>(name - 1);
    bomb += std::string(1, name) + ": &" + name + " [" + before;
    for (int i = 0; i < 9; ++i) bomb += ", " + before;
    bomb += "]\n";
  }
  CHECK_THROWS_AS(parse_yaml(bomb, "f.yaml"), InputError);
  CHECK_THROWS_AS(parse_yaml("a: \xc6", "f.yaml"), InputError);
  CHECK_THROWS_AS(parse_yaml("\xc6: a", "f.yaml"), InputError);
}
