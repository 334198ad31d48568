// SPDX-License-Identifier: Apache-2.0
#include "result/pattern_file.h"

#include "core/error.h"
#include "result/run_record.h"
#include "support/catch.h"
#include "support/files.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

RunRecord example() {
  const Pattern full = Pattern::parse("FFF");
  RunRecord record{.device = "cpu",
                   .model = {.name = "a \"model\": #1",
                             .architecture = "X",
                             .layers = 3,
                             .has_indexer = {true, true, true},
                             .native_schedule = "FFF",
                             .quantization = "none",
                             .config_sha256 = "",
                             .weights_layout_sha256 = "",
                             .tokenizer_sha256 = ""},
                   .calibration = {.source = "x.h5", .sha256 = "00"},
                   .holdout = std::nullopt,
                   .constraints = Constraints::none(3),
                   .fingerprint = {},
                   .baseline = full,
                   .baseline_loss = 1.5,
                   .baseline_losses = {1.5},
                   .steps = {choose(full, {{1, {1.6}, 1.6}, {2, {1.55}, 1.55}})},
                   .targets = {},
                   .warnings = {}};
  record.targets.push_back(
      {"2", {Pattern::parse("FFS"), 1.55, {1.55}, {0.05, {}, {0.05}}}, {}, {}});
  return record;
}

Overlap three_layers() {
  return {.layers = 3,
          .index_topk = 2,
          .bucket_ends = {4},
          .queries = {1},
          .counts = {2, 1, 1, 1, 2, 1, 1, 1, 2},
          .query_step = 1};
}

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
  const std::string text = to_pattern_yaml(example(), three_layers(), 0);
  write_text(folder / "pattern.yaml", text);
  CHECK(read_pattern_file(folder / "pattern.yaml").text() == "FFS");
  CHECK_THAT(text, Contains("schema: \"indexcache-pattern/1\""));
  CHECK_THAT(text, Contains("donor: {2: 1}"));
  CHECK_THAT(text, Contains("{removed: 2, loss: 1.55"));
  CHECK_THAT(text, Contains("delta_ci95: ~"));
}

TEST_CASE("a bare string is a pattern file, and unknown keys do not disturb") {
  CHECK(refusal("FSF\n") == "accepted");
  CHECK(refusal("schema: indexcache-pattern/1\npattern: FSF\nmine: 3\n") == "accepted");
}

TEST_CASE("a pattern file that contradicts itself or its schema is refused") {
  CHECK_THAT(refusal("schema: indexcache-pattern/2\npattern: FSF\n"),
             Contains("indexcache-pattern/2"));
  CHECK_THAT(refusal("pattern: FSF\nlayers: {donor: {1: 2}}\n"), Contains("layer 1 uses layer 2"));
  CHECK_THAT(refusal("other: 1\n"), Contains("no key \"pattern\""));
  CHECK_THAT(refusal("pattern: SFF\n"), Contains("starts with S"));
  CHECK_THAT(refusal("a: [1\nb: 2\n"), Contains("p.yaml:"));
}
