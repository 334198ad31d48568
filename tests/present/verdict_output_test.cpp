// SPDX-License-Identifier: Apache-2.0
// What a verdict says, with names that mean harm. Guards and exit codes: tests/cli/check_test.cpp.
#include "present/verdict_output.h"

#include "support/catch.h"
#include "support/example_result.h"

#include <sstream>

using namespace indexcache;
using namespace indexcache::test;

namespace {

const std::string kHostile = "a%0A::error::b,c:d\r\ne|f`g`<script>&\"'\x01\xFF\x1B[31m]]>ü";

Verdict hostile() {
  StoredPattern result = stored_pattern(example_result(), 1, "runs/" + kHostile);
  result.model->name = kHostile.substr(0, kHostile.find('\xFF'));
  result.fingerprint = {{"device", "<&>"}};
  result.target->holdout.reset();
  const Gate gate = parse_gate(
      "schema: indexcache-gate/1\n\n\n\n\nguards:\n  max_ppl_ratio: 1.5\n"
      "  first_layer_full: true\n",
      "gates/" + kHostile);
  return apply_gate(gate, result, std::nullopt, std::nullopt);
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

}  // namespace

TEST_CASE("annotations are one line each, whatever a file is called") {
  const std::string text = verdict_annotations(hostile());
  CHECK(count(text, "\n") == 1);
  CHECK(count(text, "\r") == 0);
  CHECK_THAT(text, Contains("::error file=gates/a%250A%3A%3Aerror%3A%3Ab%2Cc%3Ad%0D%0Ae|f") &&
                       Contains(",line=7,title=indexcache gate%3A max_ppl_ratio::max_ppl_ratio: "
                                "missing, expected <= 1.5 (the result has no held-out sequences)"));
  CHECK(count(text, "\x1B") == 0);
  CHECK(count(text, "\xFF") == 0);
}

TEST_CASE("JUnit holds nothing that XML cannot") {
  const std::string text = verdict_junit(hostile());
  CHECK_THAT(text, Contains("tests=\"2\" failures=\"1\""));
  CHECK_THAT(text, Contains("name=\"max_ppl_ratio\">") && Contains("<failure message=\"max_ppl"));
  CHECK_THAT(text, Contains("name=\"first_layer_full\"/>"));
  CHECK_THAT(text, Contains("e|f`g`&lt;script&gt;&amp;&quot;&apos;"));
  CHECK_THAT(text, Contains("]]&gt;ü"));
  CHECK_THAT(text, Contains("b,c:d&#13;&#10;e"));
  CHECK_THAT(text, Contains("<property name=\"device\" value=\"&lt;&amp;&gt;\"/>"));
  CHECK(count(text, "<script>") == 0);
  CHECK(count(text, "\x01") + count(text, "\xFF") + count(text, "\x1B") == 0);
}

TEST_CASE("a Markdown table keeps its cells, and nothing in them is markup") {
  Verdict verdict = hostile();
  verdict.guards[0].detail = kHostile;
  const std::string text = verdict_markdown(verdict);
  std::istringstream lines(text);
  std::size_t rows = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("|")) continue;
    ++rows;
    CHECK(count(line, "|") == 6);
  }
  CHECK(rows == 4);
  CHECK(count(text, "<script>") == 0);
  CHECK_THAT(text, Contains("&lt;script&gt;&amp;") && Contains("&#96;g&#96;"));
}

TEST_CASE("the table and verdict.json tell every guard") {
  const Verdict verdict = hostile();
  CHECK_FALSE(verdict.passed());
  const std::string table = verdict_table(verdict);
  CHECK_THAT(table, Contains("FAIL  max_ppl_ratio") && Contains("pass  first_layer_full") &&
                        Contains("failed: 1 of 2 guards"));
  const Json json = verdict_json(verdict);
  CHECK(json["passed"] == false);
  CHECK(json["guards"][0]["measured"] == "missing");
  CHECK(json["guards"][0]["line"] == 7);
  CHECK_NOTHROW(json.dump());
}
