// SPDX-License-Identifier: Apache-2.0
// export and the reading of configurations, as their users meet them.
#include "io/files.h"
#include "io/json.h"
#include "result/parts_json.h"
#include "result/stored_pattern.h"
#include "support/catch.h"
#include "support/example_result.h"
#include "support/files.h"
#include "support/process.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

// The model of a six-layer DeepSeek result, as YAML in one line.
std::string model_yaml() {
  Json model = to_json(example_model());
  return "model: " + model.dump() + "\n";
}

// A result of such a model as people cut it down to what export reads.
std::filesystem::path stored_result(const TempFolder& folder) {
  write_text(folder / "pattern.yaml",
             "schema: indexcache-pattern/2\n" + model_yaml() + "pattern: FSFSSF\n");
  return folder.path();
}

}  // namespace

TEST_CASE("export prints on stdout exactly what is pasted, and what to know on stderr") {
  const TempFolder folder;
  const ProcessResult result =
      run_tool({"export", stored_result(folder), "--engine", "vllm", "--engine-version", "0.33.0"});
  CHECK(result.code == 0);
  CHECK(result.out ==
        "--hf-overrides '{\"use_index_cache\":true,\"index_topk_pattern\":\"FSFSSF\"}'\n");
  CHECK_THAT(result.err, Contains("# pipeline parallelism") && Contains("# MTP layers"));
  CHECK(run_tool({"export", folder.path(), "-e", "vllm", "-q"}).err.empty());
  CHECK_THAT(run_tool({"export", folder.path(), "-e", "vllm", "--engine-version", "9"}).err,
             Contains("newer than 0.33.0"));
  const Json json =
      parse_json(run_tool({"export", folder.path(), "-e", "sglang", "--json"}).out, "stdout");
  CHECK(json["keys"]["index_topk_pattern"] == "FSFSSF");
}

TEST_CASE("export takes published patterns as they are") {
  CHECK(run_tool({"export", "FSFSSF", "-e", "vllm"}).code == 0);
  CHECK(run_tool({"export", "FSFSSF", "-e", "transformers"}).code == 0);
  const std::string model = golden("glm_moe_dsa_tiny");
  const auto listed = run_tool({"export", "0,2,5", "-e", "vllm", "-m", model, "-q"});
  CHECK_THAT(listed.out, Contains("FSFSSF"));
  const auto file =
      run_tool({"export", "freq:4", "-e", "xllm", "-m", model + "/config.json", "-q"});
  CHECK_THAT(file.out, Contains("FFSSSF"));
}

TEST_CASE("export --all shows every engine, and why some are refused") {
  const TempFolder folder;
  const ProcessResult result = run_tool({"export", stored_result(folder), "--all"});
  CHECK(result.code == 0);
  CHECK_THAT(result.out, Contains("--json-model-override-args") && Contains("model_kwargs:") &&
                             Contains("# transformers: refused") &&
                             Contains("# lmdeploy: refused"));
}

TEST_CASE("export --write-config writes the model's config.json and overwrites none") {
  const TempFolder folder;
  const std::string model = golden("glm_moe_dsa_tiny");
  const Json before = parse_json(read_file(model + "/config.json"), "config.json");
  const auto write = [&](const std::string& engine, const std::string& where) {
    return run_tool({"export", "FSFSSF", "-e", engine, "-m", model, "--write-config", where});
  };
  const ProcessResult written = write("vllm", folder / "out");
  CHECK(written.code == 0);
  CHECK(written.out == (folder / "out/config.json").string() + "\n");
  Json after = parse_json(read_file(folder / "out/config.json"), "config.json");
  CHECK(after["index_topk_pattern"] == "FSFSSF");
  CHECK(after["use_index_cache"] == true);
  after.erase("index_topk_pattern");
  after.erase("use_index_cache");
  CHECK(after == before);
  CHECK(write("vllm", folder / "out").code == 0);  // the same again
  const ProcessResult other = write("sglang", folder / "out");
  CHECK(other.code == 3);
  CHECK_THAT(other.err, Contains("would be overwritten"));
  CHECK_THAT(write("vllm", model).err, Contains("would be overwritten"));
  CHECK(
      run_tool({"export", "FSFSSF", "--all", "-m", model, "--write-config", folder / "all"}).code ==
      0);
  for (const char* engine : {"vllm", "sglang", "transformers", "tensorrt-llm", "vllm-ascend",
                             "xllm", "lmdeploy", "atom"}) {
    CHECK(std::filesystem::exists(folder / "all" / engine / "config.json"));
  }
}

TEST_CASE("export refuses what it cannot stand for") {
  const TempFolder folder;
  stored_result(folder);
  const auto check = [](const std::vector<std::string>& arguments, int code,
                        const std::string& what) {
    std::vector<std::string> all = {"export"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const ProcessResult result = run_tool(all);
    INFO(result.err);
    CHECK(result.code == code);
    CHECK(result.out.empty());
    CHECK_THAT(result.err, Contains(what));
  };
  const std::string run = folder.path();
  check({run}, 2, "either --engine NAME or --all");
  check({run, "-e", "vllm", "--all"}, 2, "either --engine NAME or --all");
  check({run, "-e", "vlm"}, 2, "try: --engine vllm");
  check({run, "--all", "--engine-version", "1"}, 2, "--engine-version");
  check({run, "-e", "vllm", "--write-config", run}, 2, "--model MODEL");
  check({run, "-e", "transformers"}, 3, "only in GLM-5 models");
  check({run, "-e", "transformers"}, 3, "--all shows which of them take it");
  check({run, "-e", "vllm", "--engine-version", "0.20.1"}, 3, "no index cache");
  check({run, "-e", "vllm", "--pp-size", "2"}, 3, "shared layer 3");
  check({run, "-e", "vllm", "--pp-size", "9"}, 2, "9 pipeline stages");
  check({run, "-e", "vllm", "--pp-partition", "3,2"}, 2, "5 layers in total");
  check({run, "-e", "vllm", "--target", "1/4"}, 3, "--target applies only");
  check({"FSFX", "-e", "vllm"}, 3, "letter 4");
  check({"no/such/file", "-e", "vllm"}, 3, "not a pattern");
  check({"0,2", "-e", "vllm"}, 3, "model is not known");
  check({"FSF", "-e", "vllm", "-m", golden("glm_moe_dsa_tiny")}, 3, "wrong length");
  check({"FSFSSS", "-e", "vllm", "-m", golden("axk2_tiny")}, 3, "shares index sets in A.X-K2");
  check({"FFSSSSS", "-e", "atom", "-m", golden("hy_v4_tiny")}, 3, "shares index sets in Hy4");
  check({"FFFSSFS", "-e", "vllm", "-m", golden("hy_v4_tiny")}, 3, "no indexer");
  check({"FSFSSFFF", "-e", "vllm", "-m", golden("glm_moe_dsa_shared_tiny")}, 3, "no indexer");
  write_text(folder / "pattern.yaml",
             "schema: indexcache-pattern/2\n" + model_yaml() + "pattern: FSFSSFF\n");
  check({run, "-e", "vllm"}, 3, "it has 7 letters, patterns of this model have 6");
  write_text(folder / "pattern.yaml",
             "schema: indexcache-pattern/2\nmodel: {layers: 6}\npattern: FSFSSF\n");
  check({run, "-e", "vllm"}, 3, "model has no key");
  write_text(folder / "pattern.yaml", "schema: indexcache-pattern/3\npattern: FSFSSF\n");
  check({run, "-e", "vllm"}, 3, "indexcache-pattern/3");
}

TEST_CASE("inspect shows what every engine makes of a config.json, and where they differ") {
  const std::string config = golden("glm_moe_dsa_tiny") / "config.json";
  const ProcessResult same = run_tool({"inspect", config});
  CHECK(same.code == 0);
  CHECK_THAT(same.out, Contains("engines read FFFFFF  6F") && !Contains("warning"));
  const ProcessResult differ =
      run_tool({"inspect", config, "--override", R"({"index_topk_pattern": "FSFSSS"})"});
  CHECK(differ.code == 0);
  CHECK_THAT(differ.out, Contains("FSFSSS  2F") && Contains("FFFFFF  6F") &&
                             Contains("engines read this configuration differently") &&
                             Contains("note: sglang: index_topk_pattern disagrees"));
  const Json shared =
      parse_json(run_tool({"inspect", golden("glm_moe_dsa_shared_tiny"), "--json"}).out, "stdout");
  REQUIRE(shared["engines"].size() == 8);
  CHECK(shared["engines"][0]["schedule"] == "FFFSSSFS");
  CHECK(shared["engines"][0]["decided_by"] == "index_topk_freq");
  CHECK(shared["engines"][1]["decided_by"] == "indexer_types");
  const ProcessResult hy4 = run_tool({"inspect", golden("hy_v4_tiny")});
  CHECK_THAT(hy4.out, Contains("FFSSSFS  3F") && Contains("no version that was read shares") &&
                          !Contains("does not have, on layers"));
  const ProcessResult bad = run_tool({"inspect", config, "--override", "[1]"});
  CHECK(bad.code == 2);
  CHECK_THAT(bad.err, Contains("not a JSON object"));
}

TEST_CASE("eval reads an engine's override and a config.json, each as the engine named does") {
  const TempFolder folder;
  write_text(folder / "t.jsonl", [] {
    std::string line = "{\"input_ids\":[";
    for (int t = 0; t < 80; ++t) line += (t > 0 ? "," : "") + std::to_string(t * 37 % 320);
    return line + "]}\n";
  }());
  const std::string model = golden("glm_moe_dsa_tiny");
  const std::string override_json = R"({"index_topk_pattern": "FSFSSS"})";
  write_text(folder / "config.json",
             R"({"num_hidden_layers": 6, "model_type": "glm_moe_dsa", "index_topk_pattern":
                 "FSFSSS", "indexer_types": ["full","full","full","full","full","shared"]})");
  const Json rows = parse_json(
      run_tool({"eval", model, override_json, "vllm:" + (folder / "config.json").string(),
                "sglang:" + (folder / "config.json").string(), "0,2", "-c", folder / "t.jsonl",
                "--json"})
          .out,
      "stdout")["patterns"];
  REQUIRE(rows.size() == 4);
  CHECK(rows[0]["pattern"] == "FSFSSS");
  CHECK(rows[1]["pattern"] == "FSFSSS");
  CHECK(rows[2]["pattern"] == "FFFFFS");
  CHECK(rows[3]["pattern"] == "FSFSSS");
  const ProcessResult torn =
      run_tool({"eval", model, folder / "config.json", "-c", folder / "t.jsonl"});
  CHECK(torn.code == 3);
  CHECK_THAT(torn.err, Contains("engines read different patterns"));
}

TEST_CASE("a pattern that needs trained indexers is exported only with a model that has them") {
  const TempFolder folder;
  Result result = example_result();
  const std::size_t last = result.targets.size() - 1;
  DistilledTarget distilled{};
  distilled.folder = "distilled-3F/model";
  distilled.training = result.calibration;
  distilled.steps = 4;
  result.targets[last].distilled = distilled;
  write_text(folder / "pattern.yaml", to_pattern_yaml(result, last));
  const auto refused = run_tool({"export", folder / "pattern.yaml", "-e", "vllm"});
  CHECK(refused.code == 3);
  CHECK_THAT(refused.err, Contains("needs the indexers that were trained for it") &&
                              Contains("distilled-3F/model"));
  const auto released = run_tool(
      {"export", folder / "pattern.yaml", "-e", "vllm", "--model", golden("deepseek_v32_tiny")});
  CHECK(released.code == 3);
  CHECK_THAT(released.err, Contains("the checkpoint does not have them"));
}
