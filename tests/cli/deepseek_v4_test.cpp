// SPDX-License-Identifier: Apache-2.0
// A model in which only some layers have an indexer's selection: patterns have letters for these,
// and people see numbers of layers.
#include "io/files.h"
#include "io/json.h"
#include "io/yaml.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/model_copy.h"
#include "support/process.h"
#include "support/refused_command.h"
#include "support/run_files.h"

#include <csignal>
#include <map>
#include <string>
#include <vector>

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Arguments = std::vector<std::string>;

// Layers 1, 3, 5 and 7 of 8 choose 6 entries of 4 positions: patterns matter from position 27 on.
std::string model() {
  return golden("deepseek_v4_tiny");
}

std::string ids_of(const TempFolder& folder) {
  std::string text;
  for (int s = 0; s < 6; ++s) {
    std::vector<int> ids;
    for (int t = 0; t < 90 - s; ++t) ids.push_back((t * t * 13 + t * 7 + s * 31) % 160);
    text += Json{{"input_ids", ids}}.dump() + "\n";
  }
  write_text(folder / "ids.jsonl", text);
  return folder / "ids.jsonl";
}

Arguments with(Arguments arguments, const Arguments& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

Arguments run_to(const std::string& tokens, const std::string& output) {
  return {"run", model(), "-c", tokens, "--keep", "2", "--device", "cpu", "-o", output};
}

Json json_out(const Arguments& arguments) {
  const ProcessResult result = run_tool(with(arguments, {"--json"}));
  INFO(result.err);
  REQUIRE(result.code == 0);
  return parse_json(result.out, "stdout");
}

}  // namespace

TEST_CASE("a run over DeepSeek-V4 finds a pattern of its indexers and shows numbers of layers") {
  const TempFolder folder;
  const ProcessResult run = run_tool(run_to(ids_of(folder), folder / "run"), kFixedTime);
  CHECK_THAT(run.out, Contains("--engine vllm-ascend\n"));  // no other engine shares in this model
  INFO(run.err);
  REQUIRE(run.code == 0);
  const Json result = parse_json(read_file(folder / "run/run.json"), "run.json");
  CHECK(result["model"]["layers"] == 4);
  CHECK(result["model"]["decoder_layers"] == 8);
  CHECK(result["model"]["pattern_layers"] == Json({1, 3, 5, 7}));
  CHECK(result["baseline"]["pattern"] == "FFFF");
  CHECK(result["targets"][0]["pattern"].get<std::string>().size() == 4);
  CHECK(result["overlap"]["adjacent"].size() == 3);
  const Json stored = parse_yaml(read_file(folder / "run/pattern.yaml"), "pattern.yaml");
  CHECK(stored["model"]["pattern_layers"] == Json({1, 3, 5, 7}));
  REQUIRE(stored["engines"].size() == 1);
  CHECK(stored["engines"]["vllm-ascend"]["hf_overrides"]["index_topk_pattern"] ==
        stored["pattern"]);
  const std::string page = read_file(folder / "run/report.html");
  CHECK_THAT(page, Contains("layer 7 re") || Contains("layer 7 runs"));
  CHECK_THAT(page, Contains("layer 1 runs its indexer") && !Contains("layer 2 r"));
  CHECK_THAT(page, Contains("one letter per layer of ratio 4"));
  CHECK(page.find("vllm-ascend since") < page.find("other engines"));  // the only one that takes it
  // What was stored is read again, and the report of it is the same.
  REQUIRE(run_tool({"report", folder / "run", "-o", folder / "again"}).code == 0);
  CHECK(read_file(folder / "again/report.html") == page);
}

TEST_CASE("runs over DeepSeek-V4 continue and repeat to the same bytes") {
  const TempFolder folder;
  const std::string tokens = ids_of(folder);
  REQUIRE(run_tool(run_to(tokens, folder / "whole"), kFixedTime).code == 0);
  const Arguments parts = run_to(tokens, folder / "parts");
  for (const std::size_t lines : {2, 3}) {
    run_and_signal(parts, folder / "parts/journal.jsonl", lines, SIGKILL, kFixedTime);
  }
  REQUIRE(run_tool(parts, kFixedTime).code == 0);
  CHECK(files_of(folder / "parts") == files_of(folder / "whole"));
  REQUIRE(
      run_tool(with(run_to(tokens, folder / "streamed"), {"--weights", "disk", "--threads", "1"}),
               kFixedTime)
          .code == 0);
  CHECK(run_results_of(folder / "streamed") == run_results_of(folder / "whole"));
}

TEST_CASE("patterns of DeepSeek-V4 may have a letter for each layer, or name layers") {
  const TempFolder folder;
  const Json rows = json_out({"eval", model(), "FSSF", ".F.S.S.F", "SFFSFSFF", "1,7", "uniform:2",
                              "-c", ids_of(folder)})["patterns"];
  REQUIRE(rows.size() == 5);
  for (int i = 0; i < 4; ++i) {
    CHECK(rows[i]["pattern"] == "FSSF");
    CHECK(rows[i]["loss"] == rows[0]["loss"]);
  }
  CHECK(rows[4]["pattern"] == "FSFS");
  CHECK(rows[4]["loss"] != rows[0]["loss"]);
  const auto refused = [&](const char* pattern, const char* what) {
    check_refused({"eval", model(), pattern, "-c", folder / "ids.jsonl"}, 3, what);
  };
  refused("1,2", "layer 2 selects nothing");
  refused("FSF", "it has 3 letters, patterns of this model have 4");
  refused("FSX", "letter 3 of \"FSX\"");
  check_refused({"plan", model(), "-c", folder / "ids.jsonl", "--keep", "5"}, 2,
                "patterns of this model have only 4 layers");
}

TEST_CASE("options of DeepSeek-V4 count layers of the model") {
  const TempFolder folder;
  const std::string tokens = ids_of(folder);
  const Arguments plan = {"plan", model(), "-c", tokens, "--keep", "2", "--device", "cpu"};
  check_refused(with(plan, {"--pin-full", "2"}), 2, "it has no indexer to keep");
  check_refused(with(plan, {"--pin-full", "8"}), 2, "layers 0 to 7");
  check_refused(with(plan, {"--pin-shared", "1"}), 2, "no earlier layer");
  check_refused(with(plan, {"--pp-partition", "2,2"}), 2, "the model has 8");
  CHECK(run_tool(with(plan, {"--pin-shared", "7"})).code == 0);
  // Stages begin with layers 0 and 4, of which 5 is the first that needs a set.
  const ProcessResult run = run_tool(with(run_to(tokens, folder / "run"), {"--pp-size", "2"}));
  INFO(run.err);
  REQUIRE(run.code == 0);
  const Json result = parse_json(read_file(folder / "run/run.json"), "run.json");
  CHECK(result["constraints"]["pinned_full"] == Json({2}));
  CHECK(result["targets"][0]["pattern"] == "FSFS");
  write_text(folder / "gate.yaml",
             "schema: indexcache-gate/1\nguards:\n  pp_size: 2\n  first_layer_full: true\n");
  const ProcessResult check = run_tool({"check", folder / "run", "-g", folder / "gate.yaml"});
  CHECK(check.code == 0);
  CHECK_THAT(check.out, Contains("layer 1\n"));
}

TEST_CASE("inspect and overlap say which layers of DeepSeek-V4 can have an indexer") {
  const TempFolder folder;
  const Json seen = json_out({"inspect", model()});
  CHECK(seen["baseline"] == "FFFF");
  CHECK(seen["pattern_layers"] == Json({1, 3, 5, 7}));
  CHECK(seen["sliding_window"] == 12);
  CHECK(seen["searchable"] == true);
  const Json overridden =
      json_out({"inspect", model(), "--override", R"({"index_topk_pattern": "FSSF"})"});
  for (const Json& reading : overridden["engines"]) {
    CHECK(reading["schedule"] == "FFFF");
    CHECK_THAT(reading["remarks"].dump(),
               Contains(reading["engine"] == "vllm-ascend" ? "use_index_cache is not true"
                                                           : "shares index sets in DeepSeek-V4"));
  }
  const std::string text = run_tool({"inspect", model()}).out;
  CHECK_THAT(text, Contains("8 decoder layers") && Contains(" 1 file (") &&
                       Contains("4 of 4 layers that could have one: "
                                "1, 3, 5, 7"));
  const ProcessResult overlap = run_tool(
      {"overlap", model(), "-c", ids_of(folder), "-o", folder / "overlap", "--along-queries"});
  INFO(overlap.err);
  REQUIRE(overlap.code == 0);
  CHECK_THAT(overlap.out, Contains("  1   3  0.") && Contains("  5   7  0."));
}

TEST_CASE("FP4 experts and FP8 scales of DeepSeek-V4 are read by every command") {
  const TempFolder folder;
  const std::string fp = golden("deepseek_v4_fp_tiny");
  std::string text;
  for (int s = 0; s < 4; ++s) {
    std::vector<int> ids;
    for (int t = 0; t < 60; ++t) ids.push_back((t * t + 5 * t + s) % 96);
    text += Json{{"input_ids", ids}}.dump() + "\n";
  }
  write_text(folder / "ids.jsonl", text);
  const Json rows = json_out({"eval", fp, "FS", "-c", folder / "ids.jsonl"});
  CHECK(rows["patterns"][0]["loss"].get<double>() != rows["baseline"]["loss"].get<double>());
  const Json seen = json_out({"inspect", fp});
  CHECK(seen["bytes_by_dtype"].contains("I8"));
  CHECK(seen["parameters"].get<double>() > 1e6);
  REQUIRE(
      run_tool({"plan", fp, "-c", folder / "ids.jsonl", "--keep", "1", "--device", "cpu"}).code ==
      0);
}

TEST_CASE("bench times the operations of DeepSeek-V4") {
  const auto timed = [](const Arguments& more) {
    const ProcessResult result = run_tool(with(
        {"bench", "ops", model(), "--context", "96", "--device", "cpu", "--repeat", "1", "--json"},
        more));
    INFO(result.err);
    REQUIRE(result.code == 0);
    const Json document = parse_json(result.out, "stdout");
    std::map<std::string, Json> ops;
    for (const Json& op : document["ops"]) ops[op["name"]] = op;
    return ops;
  };
  auto ops = timed({});
  for (const char* name : {"q_b", "o", "entries", "index entries", "o_groups", "logits + top-k",
                           "chosen entries", "window + chosen", "window + all 1/16", "pool entries",
                           "read streams", "write streams", "experts", "overlap"}) {
    INFO(name);
    REQUIRE(ops.contains(name));
    CHECK(ops[name]["milliseconds"].get<double>() > 0);
  }
  CHECK_FALSE(ops.contains("dense attention"));
  CHECK_FALSE(ops.contains("HISA"));
  // 69 of 96 positions see more than the 6 entries that are chosen, next to a window of 12.
  CHECK(ops["chosen entries"]["shape"] == "69 rows, 4 heads, 7 keys");
  CHECK(ops["window + chosen"]["shape"] == "69 rows, 4 heads, 18 keys");
  CHECK(ops["overlap"]["shape"] == "4 layers, 69 queries");
  ops = timed({"--only", "attention", "--shared", "50"});
  CHECK(ops.contains("window + chosen"));
  CHECK_FALSE(ops.contains("q_b"));
}

TEST_CASE("a device that is planned for computes DeepSeek-V4") {
  const TempFolder folder;
  const ProcessResult plan =
      run_tool({"plan", model(), "-c", ids_of(folder), "--keep", "2", "--on", "8xH200"});
  INFO(plan.err);
  CHECK(plan.code == 0);
}

TEST_CASE("what does not apply to DeepSeek-V4 is refused by name") {
  const TempFolder folder;
  const std::string tokens = ids_of(folder);
  check_refused(with(run_to(tokens, folder / "run"), {"--indexer", "hisa"}), 2,
                "HISA is not available for DeepSeek-V4");
  check_refused({"eval", model(), "FSSF", "-c", tokens, "--indexer", "hisa"}, 2,
                "HISA is not available for DeepSeek-V4");
  check_refused({"overlap", model(), "-c", tokens, "-o", folder / "o", "--indexer", "hisa"}, 2,
                "HISA is not available for DeepSeek-V4");
  check_refused({"distill", model(), "-p", "FSSF", "-c", tokens, "-o", folder / "d"}, 2,
                "indexers of DeepSeek-V4 cannot be trained");
  check_refused(with(run_to(tokens, folder / "run"), {"--distill", tokens}), 2,
                "indexers of DeepSeek-V4 cannot be trained");
  check_refused(
      {"bench", "ops", model(), "--context", "64", "--device", "cpu", "--indexer", "none"}, 2,
      "bench ops does not time this for DeepSeek-V4");
  check_refused({"bench", "ops", model(), "--context", "64", "--device", "cpu", "--only", "dense"},
                2, "--only dense");
  check_refused({"bench", "decode", model(), "--context", "64", "--device", "cpu"}, 2,
                "bench decode does not time this for DeepSeek-V4");
  check_refused({"eval", model(), "dense", "-c", tokens}, 2,
                "dense attention is not available for DeepSeek-V4");
  for (const char* engine : {"vllm", "sglang", "transformers"}) {
    check_refused({"export", "FSSF", "-e", engine, "-m", model()}, 3,
                  "none of its released versions that were read shares index sets in DeepSeek-V4");
  }
}

TEST_CASE("a pattern of DeepSeek-V4 is exported with its letters, and read back") {
  const TempFolder folder;
  const ProcessResult pasted = run_tool({"export", "FSSF", "-e", "vllm-ascend", "-m", model()});
  INFO(pasted.err);
  REQUIRE(pasted.code == 0);
  CHECK(pasted.out ==
        "--hf-overrides '{\"use_index_cache\":true,\"index_topk_pattern\":\"FSSF\"}'\n");
  CHECK_THAT(pasted.err, Contains("layers of ratio 4"));
  check_refused({"export", "FSFSFSFS", "-e", "vllm-ascend", "-m", model()}, 3, "wrong length");
  const Json reading = json_out({"inspect", model() + "/config.json", "--override",
                                 R"({"use_index_cache": true, "index_topk_pattern": "FSSF"})"});
  for (const Json& engine : reading["engines"]) {
    CHECK(engine["schedule"] == (engine["engine"] == "vllm-ascend" ? "FSSF" : "FFFF"));
  }
  REQUIRE(run_tool(run_to(ids_of(folder), folder / "run")).code == 0);
  CHECK_THAT(read_file(folder / "run" / "report.html"), Contains("index_topk_pattern"));
}

TEST_CASE("indexers of DeepSeek-V4 as deployed select other entries, and the device says so") {
  const TempFolder folder;
  const std::string tokens = ids_of(folder);
  std::vector<double> losses;
  for (const char* type : {"fp32", "bf16", "fp8", "fp4"}) {
    const Json rows = json_out(
        {"eval", model(), "FSSF", "-c", tokens, "--device", "cpu", "--indexer-precision", type});
    losses.push_back(rows["baseline"]["loss"]);
    CHECK(std::abs(losses.back() - losses.front()) < 0.1);
  }
  CHECK(losses[2] != losses[0]);
  CHECK(losses[3] != losses[0]);
  CHECK(losses[3] != losses[2]);
  const auto run = [&](const char* type) {
    return run_tool(with(run_to(tokens, folder / "run"), {"--indexer-precision", type}));
  };
  REQUIRE(run("fp4").code == 0);
  const Json stored = parse_json(read_file(folder / "run" / "run.json"), "run.json");
  CHECK_THAT(stored["device"].get<std::string>(), Contains("indexer fp4"));
  CHECK(run("fp8").code == 5);
  const ProcessResult overlap =
      run_tool({"overlap", model(), "-c", tokens, "--device", "cpu", "--against-indexer-precision",
                "fp4", "-o", folder / "compared"});
  INFO(overlap.err);
  REQUIRE(overlap.code == 0);
  CHECK_THAT(overlap.out, Contains("\n  7 ") && !Contains("\n  0 "));
  const Json compared =
      parse_json(read_file(folder / "compared" / "model-overlap.json"), "model-overlap.json");
  CHECK(compared["models"][1]["indexer_precision"] == "fp4");
  CHECK(compared["pattern_layers"] == Json{1, 3, 5, 7});
  REQUIRE(compared["layers"].size() == 4);
  for (const Json& layer : compared["layers"]) {
    CHECK(layer["mean"] > 0.7);
    CHECK(layer["mean"] < 1);
  }
  check_refused({"plan", golden("deepseek_v32_tiny"), "-c", tokens, "--keep", "2", "--on", "1xH200",
                 "--indexer-precision", "fp4"},
                2, "computed on the CPU only");
}
