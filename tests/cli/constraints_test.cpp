// SPDX-License-Identifier: Apache-2.0
// `run` under constraints: the pattern keeps them, the files say so, other constraints are another
// run.
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/tokens.h"

#include <set>

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Arguments = std::vector<std::string>;

struct Search {
  explicit Search(const std::string& model_name) : model(golden(model_name)) {
    tiny_tokens(folder);
  }

  ProcessResult run(const Arguments& more) const {
    Arguments all = {"run", model,      "-c",  folder / "tokens.jsonl", "-o", folder / "run",
                     "-q",  "--refine", "none"};
    all.insert(all.end(), more.begin(), more.end());
    return run_tool(all);
  }
  Json result(const Arguments& more) const {
    const ProcessResult process = run(more);
    INFO(process.err);
    REQUIRE(process.code == 0);
    return parse_json(read_file(folder / "run/run.json"), "run.json");
  }

  std::filesystem::path model;
  TempFolder folder;
};

}  // namespace

TEST_CASE("run keeps pinned layers and bounded runs, and says so in its files") {
  const Search search("deepseek_v32_tiny");
  const Json run = search.result({"--keep", "3", "--pin-shared", "4", "--max-run", "2"});
  const std::string pattern = run["targets"][0]["pattern"];
  CHECK(pattern[4] == 'S');
  CHECK(pattern.find("SSS") == std::string::npos);
  CHECK(run["searches"][0]["method"] == "segments");
  CHECK(run["searches"][0]["path"][0]["pattern"].get<std::string>()[4] == 'S');
  const Json& first = run["searches"][1]["path"][0];
  CHECK(first["pattern"] == "FFFFSF");
  CHECK(first["considered"].size() == 1);
  CHECK(run["constraints"]["pinned_shared"] == Json({4}));
  CHECK(run["constraints"]["max_run"] == 2);
  CHECK_THAT(read_file(search.folder / "run/pattern.yaml"),
             Contains("max_run: 2") && Contains("pinned_shared: [4]"));
  const ProcessResult other = search.run({"--keep", "2", "--pin-shared", "4", "--max-run", "2"});
  CHECK(other.code == 5);
  CHECK_THAT(other.err, Contains("max-run"));
  CHECK(search.run({"--keep", "3", "--pin-shared", "3", "--max-run", "2"}).code == 5);
}

TEST_CASE("run --native-sharing begins with the schedule that config.json states") {
  // A checkpoint that holds every indexer, and a configuration that shares three of them.
  const Search search("glm_moe_dsa_tiny");
  const auto model = search.folder / "model";
  copy_folder(search.model, model);
  Json config = parse_json(read_file(model / "config.json"), "config.json");
  config["indexer_types"] = {"full", "full", "full", "shared", "full", "shared"};
  write_text(model / "config.json", config.dump());
  const ProcessResult process =
      run_tool({"run", model, "-c", search.folder / "tokens.jsonl", "-o", search.folder / "run",
                "-q", "--native-sharing", "--keep", "2"});
  INFO(process.err);
  REQUIRE(process.code == 0);
  const Json run = parse_json(read_file(search.folder / "run/run.json"), "run.json");
  CHECK(run["baseline"]["pattern"] == "FFFSFS");
  CHECK(run["searches"][0]["path"][0]["pattern"].get<std::string>()[5] == 'S');
  const Json& path = run["searches"][1]["path"];
  REQUIRE(path.size() == 2);
  std::set<std::string> considered;
  for (const Json& candidate : path[0]["considered"]) considered.insert(candidate["pattern"]);
  CHECK(considered == std::set<std::string>{"FSFSFS", "FFSSFS", "FFFSSS"});
  CHECK(run["constraints"]["natively_shared"] == Json({3, 5}));
  const ProcessResult pinned =
      run_tool({"run", model, "-c", search.folder / "tokens.jsonl", "-o", search.folder / "other",
                "--native-sharing", "--keep", "2", "--pin-full", "3"});
  CHECK(pinned.code == 2);
  CHECK_THAT(pinned.err, Contains("layer 3 cannot be pinned full"));
}

TEST_CASE("run ignores sharing keys that are no schedule, and says so") {
  const Search search("glm_moe_dsa_tiny");
  const auto model = search.folder / "model";
  copy_folder(search.model, model);
  Json config = parse_json(read_file(model / "config.json"), "config.json");
  config.erase("indexer_types");
  config["index_topk_pattern"] = "FSF";
  write_text(model / "config.json", config.dump());
  const auto run = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {
        "run",    model, "-c", search.folder / "tokens.jsonl", "-o", search.folder / "run",
        "--keep", "5"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_tool(arguments);
  };
  const ProcessResult native = run({"--native-sharing"});
  CHECK(native.code == 3);
  CHECK_THAT(native.err, Contains("index_topk_pattern has 3 entries for 6 layers"));
  const ProcessResult process = run({});
  INFO(process.err);
  REQUIRE(process.code == 0);
  const Json record = parse_json(read_file(search.folder / "run/run.json"), "run.json");
  CHECK(record["baseline"]["pattern"] == "FFFFFF");
  CHECK_THAT(record["warnings"][0].get<std::string>(), Contains("3 entries for 6 layers"));
  CHECK_THAT(run_tool({"inspect", model}).out, Contains("no usable schedule: index_topk_pattern"));
}

TEST_CASE("a finished run is exported, for the model that it was searched with") {
  const Search search("glm_moe_dsa_shared_tiny");
  search.result({"--keep", "2"});
  const std::string folder = search.folder / "run";
  const ProcessResult vllm = run_tool({"export", folder, "-e", "vllm", "-m", search.model});
  INFO(vllm.err);
  CHECK(vllm.code == 0);
  CHECK_THAT(vllm.err, !Contains("not the one that the pattern was searched with"));
  CHECK_THAT(
      run_tool({"export", folder, "-e", "vllm", "-m", golden("glm_moe_dsa_shared_tiny")}).out,
      Contains("index_topk_pattern"));
  const std::string yaml = read_file(search.folder / "run/pattern.yaml");
  CHECK_THAT(yaml, Contains("json_model_override_args") && Contains("donor_overlap") &&
                       Contains("worst_sequence"));
}
