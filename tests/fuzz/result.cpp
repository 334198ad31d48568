// SPDX-License-Identifier: Apache-2.0
// run.json and pattern.yaml of both schemas. What is accepted is the same again after it was
// written and read, and everything that shows a result can show it.
#include "fuzz/target.h"
#include "io/yaml.h"
#include "present/page.h"
#include "present/terminal_summary.h"
#include "result/pattern_file.h"
#include "result/result_json.h"

namespace {

using namespace indexcache;

void require(bool holds) {
  if (!holds) __builtin_trap();
}

// Pages of huge models would take most of the time.
constexpr std::size_t kMostLayers = 64;

void show(const Result& result) {
  if (result.model.layers > kMostLayers) return;
  const std::size_t layers = result.model.layers;
  const Overlap overlap{.layers = layers,
                        .index_topk = 2,
                        .bucket_ends = {8},
                        .queries = {1},
                        .counts = std::vector<std::int64_t>(layers * layers, 1),
                        .query_step = 1};
  const Report report{result, overlap, {}, "run"};
  require(!report_html(report).empty());
  require(!report_markdown(report).empty());
  require(!report_json(report).dump().empty());
  require(!summary_text(result, "run").empty());
}

void check(const Json& document) {
  const StoredPattern stored = stored_pattern_of_document(document, "", "x");
  require(stored_pattern_from_json(parse_yaml(to_yaml(to_json(stored)), "x"), "x") == stored);
  if (!is_run_document(document)) return;
  const Result result = result_from_json(document, "x");
  require(result_from_json(parse_json(to_json(result).dump(), "x"), "x") == result);
  require(stored_pattern(result, result.targets.size() - 1, "x") == stored);
  show(result);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::run(data, size, [](std::string_view text) {
    check(text.starts_with("{") ? parse_json(text, "x") : parse_yaml(text, "x"));
  });
}
