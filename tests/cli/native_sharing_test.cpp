// SPDX-License-Identifier: Apache-2.0
// Models that were trained with shared layers: which of the remaining indexers can still become S.
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/refused_command.h"

#include <string>
#include <vector>

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Arguments = std::vector<std::string>;

const std::string kNative = "FFFSSSFS";  // of glm_moe_dsa_shared_tiny

std::string write_tokens(const TempFolder& folder) {
  std::string text;
  for (int s = 0; s < 6; ++s) {
    std::vector<int> ids;
    for (int t = 0; t < 80; ++t) ids.push_back((t * t * 13 + t * 7 + s * 31) % 320);
    text += Json{{"input_ids", ids}}.dump() + "\n";
  }
  write_text(folder / "tokens.jsonl", text);
  return folder / "tokens.jsonl";
}

// Every "pattern" anywhere in a document.
void collect_patterns(const Json& json, std::vector<std::string>& patterns) {
  if (!json.is_structured()) return;
  for (const auto& [key, value] : json.items()) {
    if (json.is_object() && key == "pattern" && value.is_string()) patterns.push_back(value);
    collect_patterns(value, patterns);
  }
}

// A config.json with the schedule of GLM-5.2 and small sizes.
void write_glm52_schedule(const TempFolder& folder) {
  Json config = Json::parse(read_file(golden("glm_moe_dsa_shared_tiny") / "config.json"));
  config["num_hidden_layers"] = 78;
  config.erase("indexer_types");
  config.erase("mlp_layer_types");
  write_text(folder / "config.json", config.dump());
}

}  // namespace

TEST_CASE("run finds which of the remaining indexers can become S, and nothing undoes sharing") {
  const TempFolder folder;
  const std::string tokens = write_tokens(folder);
  const std::string model = golden("glm_moe_dsa_shared_tiny");
  const ProcessResult run = run_tool({"run", model, "-c", tokens, "--keep", "3,2", "--remove", "3",
                                      "--device", "cpu", "-o", folder / "run", "--json"});
  INFO(run.err);
  REQUIRE(run.code == 0);
  const Json result = parse_json(run.out, "run");
  CHECK(result["baseline"]["pattern"] == kNative);
  CHECK(result["constraints"]["natively_shared"] == Json({3, 4, 5, 7}));
  REQUIRE(result["targets"].size() == 3);
  CHECK(result["targets"][2]["pattern"] == "FSSSSSSS");
  std::vector<std::string> patterns;  // searched, uniform, random, recommended by the overlap
  collect_patterns(result, patterns);
  CHECK(patterns.size() > 9);
  for (const std::string& pattern : patterns) {
    INFO(pattern);
    REQUIRE(pattern.size() == kNative.size());
    for (std::size_t i = 0; i < pattern.size(); ++i)
      CHECK((pattern[i] == 'S' || kNative[i] == 'F'));
  }
  for (const Json& warning : result["warnings"]) {
    CHECK_THAT(warning.get<std::string>(), !Contains("ratio"));
  }
  const ProcessResult eval =
      run_tool({"eval", model, "overlap:2", folder / "run", "-c", tokens, "--device", "cpu"});
  INFO(eval.err);
  CHECK(eval.code == 0);
  CHECK_THAT(eval.out, Contains(kNative + "  4F") && Contains("baseline"));
  const ProcessResult vllm = run_tool({"export", folder / "run", "-e", "vllm", "-m", model});
  CHECK(vllm.code == 0);
  CHECK_THAT(vllm.out, Contains("\"index_topk_pattern\":\"FSSSSSSS\""));
  CHECK_THAT(run_tool({"inspect", model}).out, Contains("--keep 2 --output"));
}

TEST_CASE("a ratio counts all layers, and where some have no indexer the program says so") {
  const TempFolder folder;
  write_glm52_schedule(folder);
  const std::string tokens = write_tokens(folder);
  const auto arguments = [&](const Arguments& more) {
    Arguments all = {"plan", folder.path(), "-c", tokens, "--device", "cpu"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const auto plan = [&](const Arguments& more) { return run_tool(arguments(more)); };
  const ProcessResult half = plan({"--keep", "1/2"});
  CHECK(half.code == 2);
  CHECK_THAT(half.err,
             Contains("39 F layers, a ratio of all 78 layers; 21 layers have an indexer") &&
                 Contains("between 1 and 21 F layers; --keep 11 keeps 1/2 of the 21"));
  const ProcessResult quarter = plan({"--keep", "1/4"});
  CHECK(quarter.code == 0);
  CHECK_THAT(quarter.err, Contains("warning: --keep 1/4 is a ratio of all 78 layers: 20 of the 21 "
                                   "indexers stay; --keep 6 keeps 1/4 of the 21 indexers"));
  for (const Arguments& numbers : {Arguments{"--keep", "11"}, Arguments{"--remove", "10"}}) {
    const ProcessResult result = plan(numbers);
    INFO(result.err);
    CHECK(result.code == 0);
    CHECK_THAT(result.out, Contains("greedy    10 steps"));
    CHECK_THAT(result.err, !Contains("ratio"));
  }
  const ProcessResult rise = plan({"--max-rise", "0.02"});
  CHECK_THAT(rise.out, Contains("a quarter of the indexers"));
  check_refused(arguments({"--keep", "11", "--pin-full", "3"}), 2, "no indexer to keep");
  check_refused(arguments({"--keep", "11", "--pp-size", "2"}), 2, "layer 39 cannot be pinned full");
  CHECK(plan({"--keep", "11", "--pp-partition", "38,40"}).code == 0);
}
