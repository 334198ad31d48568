// SPDX-License-Identifier: Apache-2.0
// The commands on a trained model: what they print and what they write.
#include "io/files.h"
#include "io/hdf5.h"
#include "io/json.h"
#include "result/overlap_file.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/tokens.h"

#include <algorithm>

using namespace indexcache;
using namespace indexcache::test;

namespace {

Json json_of(const ProcessResult& result) {
  INFO(result.err);
  REQUIRE(result.code == 0);
  return parse_json(result.out, "stdout");
}

}  // namespace

TEST_CASE("help and version exit 0 on stdout") {
  CHECK_THAT(run_tool({"--help"}).out, Contains("inspect") && Contains("Exit codes"));
  CHECK_THAT(run_tool({"run", "--help"}).out, Contains("--keep") && Contains("--holdout"));
  CHECK_THAT(run_tool({"--version"}).out, Contains("indexcache-search 0.") &&
                                              Contains("revision ") && Contains("numerics ") &&
                                              Contains("CUDA ") && Contains("HDF5 "));
  CHECK(run_tool({"--version"}).code == 0);
}

TEST_CASE("inspect tells who owns an indexer") {
  const Json shared = json_of(run_tool({"inspect", golden("glm_moe_dsa_shared_tiny"), "--json"}));
  CHECK(shared["indexer_layers"] == Json({0, 1, 2, 6}));
  CHECK(shared["baseline"] == "FFFSSSFS");
  CHECK(shared["nextn_layers_excluded"] == 1);
  const Json mini = json_of(run_tool({"inspect", data("dsa-mini"), "--json"}));
  CHECK(mini["layers"] == 16);
  CHECK(mini["parameters"].get<double>() / 1e6 == Approx(11.53).epsilon(0.001));
  CHECK_THAT(run_tool({"inspect", data("dsa-mini")}).out,
             Contains("16 of 16 layers") && Contains("top-128"));
  double before = 0;
  for (const Json& at : mini["indexer_share"]) {
    CHECK(at["tokens"].get<std::int64_t>() <= mini["max_position_embeddings"].get<std::int64_t>());
    CHECK(at["share"].get<double>() > before);
    before = at["share"].get<double>();
    CHECK(at["quarter_speed_up"].get<double>() == Approx(1 / (1 - 0.75 * before)));
  }
  CHECK(before > 0);
  // config.json is enough.
  const TempFolder folder;
  std::filesystem::copy_file(data("dsa-mini/config.json"), folder / "config.json");
  CHECK(json_of(run_tool({"inspect", folder.path(), "--json"}))["indexer_share"] ==
        mini["indexer_share"]);
}

TEST_CASE("eval pairs patterns with the baseline, in every notation") {
  const TempFolder folder;
  const std::string tokens = short_tokens(folder, 300);
  write_text(folder / "p.yaml", "pattern: FSFSFSFSFSFSFSFS\n");
  const Json result =
      json_of(run_tool({"eval", data("dsa-mini"), "full", "uniform:2", "FSFSFSFSFSFSFSFS",
                        folder / "p.yaml", "freq:4,offset:3", "-c", tokens, "--json"}));
  REQUIRE(result["warnings"].is_array());
  const Json& rows = result["patterns"];
  REQUIRE(rows.size() == 5);
  CHECK(rows[0]["delta"] == 0.0);
  CHECK(rows[0]["loss"] == result["baseline"]["loss"]);
  CHECK(rows[1] == rows[2]);
  CHECK(rows[1] == rows[3]);
  CHECK(rows[4]["pattern"] == "FFFSSSFSSSFSSSFS");
  CHECK(rows[1]["sequence_losses"].size() == 2);
  CHECK(rows[1]["delta"].get<double>() > 0);
  CHECK(rows[1]["delta_ci95"].size() == 2);
  const Json by_overlap = json_of(
      run_tool({"eval", data("dsa-mini"), "overlap:4", "overlap:1/2", "-c", tokens, "--json"}));
  const std::string four = by_overlap["patterns"][0]["pattern"];
  const std::string eight = by_overlap["patterns"][1]["pattern"];
  CHECK(std::ranges::count(four, 'F') == 4);
  CHECK(std::ranges::count(eight, 'F') == 8);
  CHECK(by_overlap["patterns"][0]["delta"] > by_overlap["patterns"][1]["delta"]);
  for (const char* size : {"overlap:0", "overlap:17", "overlap:x", "overlap:"}) {
    CHECK(run_tool({"eval", data("dsa-mini"), size, "-c", tokens}).code == 2);
  }
  CHECK_THAT(run_tool({"eval", data("dsa-mini"), "uniform:4", "-c", tokens}).out,
             Contains("FSSSFSSSFSSSFSSS  4F") && Contains("uniform:4"));
}

TEST_CASE("overlap writes its matrix and picture") {
  const TempFolder folder;
  const std::string tokens = short_tokens(folder, 300);
  const Json result = json_of(
      run_tool({"overlap", data("dsa-mini"), "-c", tokens, "-o", folder / "out", "--json", "-q"}));
  CHECK(result["overlap"].size() == 16);
  CHECK(result["overlap"][3][3] == 1.0);
  CHECK(result["overlap"][2][5] == result["overlap"][5][2]);
  CHECK(result["adjacent"].size() == 15);
  CHECK(result["by_position"].size() == 2);  // up to 256, up to 512
  CHECK(result["by_position"][0]["queries"] == 2 * 128);
  CHECK(result["by_position"][1]["queries"] == 2 * 44);
  CHECK(std::filesystem::exists(folder / "out/heatmap.png"));
  const IntegerDataset counts = Hdf5Reader(folder / "out/overlap.h5").integers("/counts");
  CHECK(counts.shape == std::vector<std::int64_t>{2, 16, 16});
  CHECK(counts.values[0] == 2 * 128 * 128);
}

TEST_CASE("overlap --along-queries adds what neighboring queries share") {
  const TempFolder folder;
  const std::string tokens = short_tokens(folder, 200);  // no query has one 128 before it
  const auto overlap = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {
        "overlap", data("dsa-mini"), "-c", tokens, "--along-queries", "-o", folder / "out", "-q"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_tool(arguments);
  };
  const Json result = json_of(overlap({"--json"}));
  CHECK(result["overlap"].size() == 16);
  const Json& along = result["along_queries"];
  CHECK(along["distances"] == Json({1, 16, 128}));
  CHECK(along["groups"] == Json({2, 4, 8}));
  REQUIRE(along["layers"].size() == 16);
  CHECK(along["layers"][15]["layer"] == 15);
  CHECK(along["shared"][0] > along["shared"][1]);
  CHECK(along["shared"][2].is_null());
  CHECK(along["union"][2] > along["union"][1]);
  REQUIRE(along["by_position"].size() == 1);
  CHECK(along["by_position"][0]["shared"] == along["shared"]);

  const Hdf5Reader file(folder / "out/overlap.h5");
  CHECK(file.integers("/along_queries/totals").values ==
        std::vector<std::int64_t>{2 * 71, 2 * 56, 0, 2 * 36, 2 * 18, 2 * 9});
  CHECK(file.integers("/along_queries/counts").shape == std::vector<std::int64_t>{16, 1, 6});
  CHECK(file.integers("/along_queries/layers").values.back() == 15);
  CHECK(read_overlap(folder / "out/overlap.h5").overlap.layers == 16);

  const std::string text = overlap({}).out;
  CHECK_THAT(text, Contains("t-1     t-16    t-128  union 2  union 4  union 8") &&
                       Contains("\n 15 ") && Contains("\nmean ") && Contains("       -  "));
}

TEST_CASE("run writes one pattern a target, nested, and verifies on held-out sequences") {
  const TempFolder folder;
  const std::string tokens = short_tokens(folder, 300);
  const ProcessResult result =
      run_tool({"run", data("dsa-mini"), "-c", tokens, "--holdout", tokens, "--keep", "14,7/8",
                "--remove", "3", "--pin-full", "3", "--strategy", "greedy", "--refine", "none",
                "-o", folder / "out", "--json"});
  const Json run = json_of(result);
  CHECK(run == parse_json(read_file(folder / "out/run.json"), "run.json"));
  REQUIRE(run["targets"].size() == 2);  // 14 and 7/8 of 16 are the same
  CHECK(run["targets"][0]["kept"] == 14);
  CHECK(run["targets"][1]["kept"] == 13);
  const Json& search = run["searches"][0];
  CHECK(search["method"] == "greedy");
  REQUIRE(search["path"].size() == 3);
  CHECK_THAT(run["warnings"].dump(), Contains("2 of 2 held-out sequences are also calibration"));
  for (const Json& step : search["path"]) {
    CHECK(step["pattern"].get<std::string>()[3] == 'F');
    for (const Json& other : step["considered"]) CHECK(other["loss"] >= step["loss"]);
  }
  CHECK(search["path"][0]["considered"].size() == 14);  // neither layer 0 nor layer 3
  for (const Json& target : run["targets"]) {
    CHECK(target["verified_from_scratch"] == true);
    CHECK(target["method"] == "greedy");
    CHECK(target["holdout"]["loss"] == target["calibration"]["loss"]);  // the same sequences here
    CHECK(target["uniform_holdout"]["pattern"].get<std::string>().size() == 16);
  }
  CHECK_THAT(read_file(folder / "out/pattern.yaml"),
             Contains(run["targets"][1]["pattern"].get<std::string>()));
  CHECK_THAT(read_file(folder / "out/pattern-14F.yaml"),
             Contains(run["targets"][0]["pattern"].get<std::string>()));
  for (const char* name : {"overlap.h5", "heatmap.png", "journal.jsonl"}) {
    CHECK(std::filesystem::exists(folder / "out" / name));
  }
}

TEST_CASE("a natively shared model is searched among the indexers it has") {
  const TempFolder folder;
  std::string text;
  for (int s = 0; s < 3; ++s) {
    std::vector<int> ids;
    for (int t = 0; t < 80; ++t) ids.push_back((t * 13 + s * 7) % 320);
    text += Json{{"input_ids", ids}}.dump() + "\n";
  }
  write_text(folder / "tokens.jsonl", text);
  const auto run = [&](const std::string& keep, const std::string& output) {
    return run_tool({"run", golden("glm_moe_dsa_shared_tiny"), "-c", folder / "tokens.jsonl",
                     "--keep", keep, "-o", folder / output, "--json"});
  };
  const Json result = json_of(run("2", "out"));
  CHECK(result["baseline"]["pattern"] == "FFFSSSFS");
  CHECK(result["searches"][0]["path"][0]["considered"].size() == 3);
  CHECK(result["targets"][0]["kept"] == 2);
  CHECK(run("5", "other").code == 2);  // more than exist
}
