// SPDX-License-Identifier: Apache-2.0
#include "result/pattern_file.h"

#include "core/error.h"
#include "io/files.h"
#include "io/yaml.h"
#include "result/result_json.h"
#include "support/catch.h"
#include "support/example_result.h"
#include "support/files.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::string refusal(const std::string& text) {
  const TempFolder folder;
  write_text(folder / "p.yaml", text);
  try {
    read_pattern_file(folder / "p.yaml");
    return "accepted";
  } catch (const InputError& error) {
    return error.describe();
  }
}

}  // namespace

TEST_CASE("a written pattern file is read back, whatever the model is called") {
  const TempFolder folder;
  Result result = example_result();
  result.model.name = "a \"model\": #1\n\x7F\u0085\uFEFF\uFFFE\u2028\U0001F600 \\";
  result.warnings = {"~"};
  const std::string text = to_pattern_yaml(result, 1);
  write_text(folder / "pattern.yaml", text);
  CHECK(read_pattern_file(folder / "pattern.yaml").text() == "FSFFSS");
  CHECK(read_stored_pattern(folder.path()) == stored_pattern(result, 1, folder / "pattern.yaml"));
  CHECK_THAT(text, Contains("schema: \"indexcache-pattern/2\""));
  CHECK_THAT(text, Contains("{layer: 1, donor: 0, overlap: 0.5}"));
  CHECK_THAT(text, Contains("worst_sequence:\n      sequence: 5\n      delta: 0.11\n"));
  CHECK_THAT(text, Contains("method: \"swap\""));
}

TEST_CASE("a bare string is a pattern file, and unknown keys do not disturb") {
  CHECK(refusal("FSF\n") == "accepted");
  CHECK(refusal("schema: indexcache-pattern/1\npattern: FSF\nmine: 3\n") == "accepted");
  CHECK(refusal("schema: indexcache-pattern/2\npattern: FSF\nmine: 3\n") == "accepted");
}

TEST_CASE("a pattern file that contradicts itself or its schema is refused") {
  CHECK_THAT(refusal("schema: indexcache-pattern/3\npattern: FSF\n"),
             Contains("indexcache-pattern/3"));
  CHECK_THAT(refusal("pattern: FSF\nlayers: {donor: {1: 2}}\n"), Contains("layer 1 uses layer 2"));
  CHECK_THAT(refusal("schema: indexcache-pattern/1\npattern: FSF\nlayers: {donor: {1: 2}}\n"),
             Contains("layer 1 uses layer 2"));
  CHECK_THAT(refusal("other: 1\n"), Contains("no key \"pattern\""));
  CHECK_THAT(refusal("pattern: SFF\n"), Contains("starts with S"));
  CHECK_THAT(refusal("schema: indexcache-pattern/2\npattern: SFF\n"), Contains("starts with S"));
  CHECK_THAT(refusal("a: [1\nb: 2\n"), Contains("p.yaml:"));
}

TEST_CASE("a run folder is read from run.json, with the target that is asked for") {
  const TempFolder folder;
  write_text(folder / "pattern.yaml", "FFFFFF\n");
  write_text(folder / "run.json", to_json(example_result()).dump());
  CHECK(read_stored_pattern(folder.path()).pattern.text() == "FSFFSS");
  CHECK(read_stored_pattern(folder.path(), "2/3").pattern.text() == "FFFFSS");
  CHECK(read_stored_pattern(folder.path(), "4").pattern.text() == "FFFFSS");
  CHECK_THROWS_AS(read_stored_pattern(folder.path(), "1/8"), InputError);
  CHECK(read_pattern_file(folder.path()).text() == "FSFFSS");
  CHECK(read_result(folder.path()) == example_result());
}
