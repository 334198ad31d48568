// SPDX-License-Identifier: Apache-2.0
// `overlap --against-model`: index sets of two checkpoints, or of one in two precisions.
#include "support/catch.h"
#include "support/model_copy.h"
#include "support/tokens.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

struct Place {
  Place() { tiny_tokens(folder); }

  ProcessResult overlap(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"overlap", golden("deepseek_v32_tiny"),
                                          "-c",      folder / "tokens.jsonl",
                                          "-o",      folder / "out"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_tool(arguments);
  }
  Json json(std::vector<std::string> more) const {
    more.emplace_back("--json");
    const ProcessResult result = overlap(more);
    INFO(result.err);
    REQUIRE(result.code == 0);
    return parse_json(result.out, "stdout");
  }
  void refused(const std::vector<std::string>& more, int code, const std::string& why) const {
    const ProcessResult result = overlap(more);
    INFO(result.err);
    CHECK(result.code == code);
    CHECK_THAT(result.err, Contains(why));
  }

  TempFolder folder;
};

}  // namespace

TEST_CASE("overlap --against-model shows where two checkpoints select differently") {
  const Place place;
  const ModelCopy same, other;
  change_indexer(other, 2);
  const Json equal = place.json({"--against-model", same.path()});
  CHECK(equal["mean"] == 1.0);
  CHECK(equal["worst"] == 1.0);
  CHECK(equal["models"][0]["loss"] == equal["models"][1]["loss"]);

  const Json document = place.json({"--against-model", other.path()});
  CHECK(document["schema"] == "indexcache-model-overlap/1");
  CHECK(document["query_step"] == 1);
  REQUIRE(document["layers"].size() == 6);
  CHECK(document["layers"][1]["worst"] == 1.0);
  CHECK(document["layers"][2]["mean"].get<double>() < 1);
  CHECK(document["layers"][5]["mean"].get<double>() < 1);  // what it is given has changed
  const Json& worst = document["layers"][2]["worst_queries"];
  REQUIRE(worst.size() == 10);
  CHECK(worst[0]["overlap"] == document["layers"][2]["worst"]);
  CHECK(worst[0]["overlap"].get<double>() <= worst[9]["overlap"].get<double>());
  CHECK(worst[0]["position"].get<int>() >= 16);
  CHECK(document["by_position"][0]["queries"] == 4 * 16);
  CHECK(document["models"][0]["loss"] != document["models"][1]["loss"]);
  const std::string file = place.folder / "out" / "model-overlap.json";
  CHECK(document["files"] == Json::array({file}));
  Json stored = parse_json(read_file(file), file);
  for (const char* key : {"files", "warnings"}) stored[key] = document[key];
  CHECK(stored == document);

  const ProcessResult text = place.overlap({"--against-model", other.path()});
  CHECK_THAT(text.out, Contains("share of the 16 tokens per query of deepseek_v32_tiny that m") &&
                           Contains("worst queries\nlayer ") && Contains("\nloss "));
}

TEST_CASE("overlap --against-precision compares a checkpoint with itself in another precision") {
  const Place place;
  const std::string model = golden("deepseek_v32_fp8_tiny");
  const auto compare = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {
        "overlap",  model, "-c",    place.folder / "tokens.jsonl", "-o", place.folder / "out",
        "--device", "cpu", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult result = run_tool(arguments);
    INFO(result.err);
    REQUIRE(result.code == 0);
    return parse_json(result.out, "stdout");
  };
  const Json equal = compare({"--against-precision", "fp32"});
  CHECK(equal["worst"] == 1.0);
  const Json fp8 = compare({"--against-precision", "fp8"});
  CHECK(fp8["models"][0]["precision"] == "fp32");
  CHECK(fp8["models"][1]["precision"] == "fp8");
  CHECK(fp8["mean"].get<double>() < 1);
  CHECK(fp8["mean"].get<double>() > 0.5);
}

TEST_CASE("overlap --against-model refuses models of other shapes, and other comparisons") {
  const Place place;
  place.refused({"--against-model", golden("glm_moe_dsa_shared_tiny")}, 3,
                "the two models cannot be compared");
  const ModelCopy top_k;
  top_k.change_config([](Json& config) { config["index_topk"] = 8; });
  place.refused({"--against-model", top_k.path()}, 3, "index_topk is 8 here and 16 in");
  const ModelCopy bare;
  bare.change_tensors([](std::vector<StoredTensor>& tensors) {
    std::erase_if(tensors, [](const StoredTensor& tensor) {
      return tensor.name.starts_with("model.layers.3.self_attn.indexer.");
    });
  });
  bare.change_config([](Json& config) { config["index_topk_pattern"] = "FFFSFF"; });
  place.refused({"--against-model", bare.path()}, 3, "layers 0 1 2 4 5 own an indexer here");
  place.refused({"--against-model", place.folder / "none"}, 3, "none");
  place.refused({"--against-precision", "fp32", "--along-queries"}, 2,
                "two models are compared by themselves");
  place.refused({"--against-precision", "bf16", "--device", "cpu"}, 2, "--precision bf16");
  CHECK_FALSE(std::filesystem::exists(place.folder / "out" / "model-overlap.json"));
}
