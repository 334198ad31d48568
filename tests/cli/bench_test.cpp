// SPDX-License-Identifier: Apache-2.0
// The benchmarks run and say what they measured; nothing asserts a time.
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/refused_command.h"
#include "support/tiny_shape.h"

#include <algorithm>

using namespace indexcache;
using namespace indexcache::test;

namespace {

Json bench(const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {"bench"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  all.insert(all.end(), {"--device", "cpu", "--repeat", "1", "--json"});
  const ProcessResult result = run_tool(all);
  INFO(result.err);
  REQUIRE(result.code == 0);
  const std::filesystem::path produced = INDEXCACHE_PRODUCED;  // held to its schema afterwards
  std::filesystem::create_directories(produced);
  write_text(produced / (arguments.front() + ".bench.json"), result.out);
  return parse_json(result.out, "stdout");
}

}  // namespace

TEST_CASE("bench times dense attention, and only what does without an indexer if it has none") {
  const TempFolder folder;
  write_text(folder / "tiny.yaml", tiny_shape());
  const std::string shape = folder / "tiny.yaml";
  const auto names = [](const Json& document) {
    std::vector<std::string> all;
    for (const Json& op : document["ops"]) all.push_back(op["name"]);
    return all;
  };
  const Json only = bench({"ops", "--synthetic", shape, "--context", "64", "--only", "dense"});
  CHECK(names(only) == std::vector<std::string>{"expand keys", "dense attention"});
  CHECK(only["ops"][1]["shape"] == "48 of 64, 2 heads");  // queries that select
  CHECK(only["ops"][1]["tflops"].get<double>() > 0);

  const Json ops = bench({"ops", "--synthetic", shape, "--context", "12", "--indexer", "none"});
  const std::vector<std::string> timed = names(ops);
  const auto has = [&](const char* name) { return std::ranges::find(timed, name) != timed.end(); };
  CHECK(has("dense attention"));
  CHECK(has("q_b"));
  CHECK_FALSE(has("logits + top-k"));
  CHECK_FALSE(has("sparse attention"));
  CHECK_FALSE(has("overlap"));

  const ProcessResult search = run_tool({"bench", "search", "--synthetic", shape, "--context", "64",
                                         "--indexer", "none", "--device", "cpu"});
  CHECK(search.code == 2);
  CHECK_THAT(search.err, Contains("nothing is selected without an indexer"));
}

TEST_CASE("bench times operations and searches of a synthetic model") {
  const TempFolder folder;
  write_text(folder / "tiny.yaml", tiny_shape());
  const std::string shape = folder / "tiny.yaml";

  const Json ops = bench({"ops", "--synthetic", shape, "--context", "64"});
  CHECK(ops["schema"] == "indexcache-bench/2");
  CHECK(ops["model"] == "tiny (synthetic)");
  CHECK(ops["ops"].size() >= 12);
  for (const Json& op : ops["ops"]) CHECK(op["milliseconds"].get<double>() > 0);

  CHECK(ops["under_load"] == false);

  const Json chosen = bench({"ops", "--synthetic", shape, "--context", "64", "--only",
                             "products,attention", "--shared", "85", "--under-load"});
  CHECK(chosen["under_load"] == true);
  const auto has = [&](const char* name) {
    return std::ranges::any_of(chosen["ops"], [&](const Json& op) { return op["name"] == name; });
  };
  CHECK(has("q_b"));
  CHECK(has("sparse attention"));
  CHECK_FALSE(has("copy"));
  CHECK_FALSE(has("overlap"));
  CHECK_FALSE(has("logits + top-k"));

  const Json decode = bench({"decode", "--synthetic", shape, "--context", "40,100", "--batch",
                             "1,3", "--pattern", "full", "--pattern", "uniform:2"});
  REQUIRE(decode["decode"].size() == 4);
  CHECK(decode["decode"][1]["context"] == 40);
  CHECK(decode["decode"][1]["batch"] == 3);
  for (const Json& point : decode["decode"]) {
    CHECK(point["cached_layers"] == 4);
    REQUIRE(point["patterns"].size() == 2);
    CHECK(point["patterns"][0]["speed_up"] == 1.0);
    CHECK(point["patterns"][1]["pattern"] == "FSFS");
    const auto read = [&](int pattern, const char* what) {
      return point["patterns"][pattern][what].get<double>();
    };
    // Half of the indexers read half of the index keys, and attention reads what it did.
    CHECK(read(1, "index_read_milliseconds") == Approx(read(0, "index_read_milliseconds") / 2));
    CHECK(read(1, "latent_read_milliseconds") == read(0, "latent_read_milliseconds"));
  }

  const Json search = bench({"search", "--synthetic", shape, "--context", "64", "--sequences", "2",
                             "--keep", "1/4", "--whole"});
  CHECK(search["search"]["steps"] == 3);
  CHECK(search["search"]["step_seconds"].size() == 3);
  CHECK(search["search"]["pattern"] == "FSSS");
}

TEST_CASE("bench times the operations that only some families have") {
  const TempFolder folder;
  std::string text = tiny_shape();
  for (const auto& [from, to] :
       {std::pair{"GlmMoeDsaForCausalLM", "HYV4ForCausalLM"}, {"glm_moe_dsa", "hy_v4"}}) {
    text.replace(text.find(from), std::string(from).size(), to);
  }
  write_text(folder / "hy4.yaml", text + "  swiglu_limit: 2.0\n  hc_mult: 3\n");
  const std::string shape = folder / "hy4.yaml";
  const Json ops = bench({"ops", "--synthetic", shape, "--context", "64"});
  for (const char* name : {"gate", "read streams", "write streams", "sparse attention"}) {
    INFO(name);
    CHECK(std::ranges::any_of(ops["ops"], [&](const Json& op) { return op["name"] == name; }));
  }
}

TEST_CASE("every shipped shape is a model that bench can read") {
  for (const char* name : {"deepseek-v3.2", "glm-5", "glm-5.2", "dsa-30b", "axk2-light", "hy4"}) {
    const std::string path = std::string(INDEXCACHE_SOURCE_DIR) + "/configs/" + name + ".yaml";
    // Refused for its --keep, after the shape was read and before weights are made.
    const ProcessResult result =
        run_tool({"bench", "search", "--synthetic", path, "--device", "cpu", "--keep", "many"});
    INFO(name << ": " << result.err);
    CHECK(result.code == 2);
    CHECK_THAT(result.err, Contains("invalid --keep many"));
  }
}

TEST_CASE("bench refuses what it cannot time") {
  const TempFolder folder;
  write_text(folder / "tiny.yaml", tiny_shape());
  for (const char* context : {"16", "1025"}) {
    const ProcessResult result = run_tool({"bench", "ops", "--synthetic", folder / "tiny.yaml",
                                           "--device", "cpu", "--context", context});
    CHECK(result.code == 2);
    CHECK_THAT(result.err, Contains("selects 16 of up to 1024 positions"));
  }
  CHECK(run_tool({"bench"}).code == 2);
  CHECK(run_tool({"bench", "speed"}).code == 2);
  CHECK(run_tool({"bench", "ops", "--synthetic", folder / "tiny.yaml", "--device", "cpu", "--only",
                  "top-k"})
            .code == 2);
  const ProcessResult nothing = run_tool({"bench", "ops", "--device", "cpu"});
  CHECK(nothing.code == 2);
  CHECK_THAT(nothing.err, Contains("either MODEL or --synthetic"));
  write_text(folder / "no.yaml", "share_layers: true\n");
  const ProcessResult empty =
      run_tool({"bench", "ops", "--synthetic", folder / "no.yaml", "--device", "cpu"});
  CHECK(empty.code == 3);
  CHECK_THAT(empty.err, Contains("has no key"));
  write_text(folder / "short.yaml", "config: {model_type: glm_moe_dsa}\n");
  CHECK(run_tool({"bench", "ops", "--synthetic", folder / "short.yaml", "--device", "cpu"}).code ==
        3);
  CHECK(run_tool({"bench", "ops", "--synthetic", folder / "absent.yaml", "--device", "cpu"}).code ==
        3);
  check_refused({"bench", "ops", golden("glm_moe_dsa_tiny"), "--device", "cpu", "--context", "64",
                 "--weights", "stream", "--under-load"},
                2, "do not stay on the device");
}

TEST_CASE("bench decode refuses what it cannot decode") {
  const TempFolder folder;
  write_text(folder / "tiny.yaml", tiny_shape());
  const auto refused = [&](const std::vector<std::string>& options) {
    std::vector<std::string> all = {"bench",     "decode", "--synthetic", folder / "tiny.yaml",
                                    "--context", "100",    "--device",    "cpu"};
    all.insert(all.end(), options.begin(), options.end());
    return run_tool(all);
  };
  const ProcessResult hisa = refused({"--indexer", "hisa:block=8,blocks=8"});
  CHECK(hisa.code == 2);
  CHECK_THAT(hisa.err, Contains("decode selects among all positions"));
  const ProcessResult fp8 = refused({"--kv-cache", "fp8"});
  CHECK(fp8.code == 2);
  CHECK_THAT(fp8.err, Contains("the layout holds 512 + 64 numbers, and the model has 16 + 8"));
  const ProcessResult large = refused({"--batch", "4096", "--memory-limit", "16MiB"});
  CHECK(large.code == 4);
  CHECK_THAT(large.err, Contains("--context 100 --batch 4096") && Contains("--kv-cache fp8"));
}

TEST_CASE("bench search prints how several devices scale, and checks that they agree") {
  const TempFolder folder;
  write_text(folder / "tiny.yaml", tiny_shape());
  const std::vector<std::string> search = {
      "bench", "search", "--synthetic", folder / "tiny.yaml", "--context", "64", "--sequences",
      "3",     "--keep", "1/4",         "--device",           "cpu,cpu"};
  const ProcessResult text = run_tool(search);
  INFO(text.err);
  REQUIRE(text.code == 0);
  CHECK_THAT(text.out, Contains("1 device: step 1 in ") && Contains("2 devices: step 1 in ") &&
                           Contains(" times as fast, idle "));
  auto with_json = search;
  with_json.push_back("--json");
  const Json scaling = parse_json(run_tool(with_json).out, "stdout")["search"]["scaling"];
  REQUIRE(scaling.size() == 2);
  CHECK(scaling[0]["speed_up"] == 1.0);
  CHECK(scaling[1]["devices"] == 2);
  CHECK(scaling[1]["seconds"].get<double>() > 0);
}
