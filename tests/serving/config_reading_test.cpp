// SPDX-License-Identifier: Apache-2.0
// Every engine's rules, one row per case: how it reads a config.json.
#include "serving/config_reading.h"

#include "core/error.h"
#include "support/catch.h"
#include "support/refusal.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

const EngineProfile& profile(const std::string& engine, const std::string& version = "") {
  return *choose_profile(engine, version).profile;
}

Json config(bool glm, std::size_t layers, const std::string& keys) {
  Json json = Json::parse(keys);
  json["num_hidden_layers"] = layers;
  json["model_type"] = glm ? "glm_moe_dsa" : "deepseek_v32";
  return json;
}

struct Row {
  std::string engine;
  std::string version;
  bool glm;
  std::string keys;       // of a model of six layers
  std::string overrides;  // what the command line puts over them
  std::string schedule;   // empty: the engine stops
  std::string says;       // part of the failure or of a remark; empty: it has none
};

void check(const Row& row) {
  INFO(row.engine << " " << row.version << (row.glm ? " GLM " : " V3.2 ") << row.keys << " over "
                  << row.overrides);
  const ConfigReading reading =
      read_schedule(profile(row.engine, row.version), config(row.glm, 6, row.keys),
                    Json::parse(row.overrides), "test");
  CHECK(reading.schedule == row.schedule);
  std::string said = reading.failure;
  for (const std::string& remark : reading.remarks) said += "|" + remark;
  if (row.says.empty()) {
    CHECK(said.empty());
  } else {
    CHECK_THAT(said, Contains(row.says));
  }
}

const std::string kPattern = R"({"index_topk_pattern": "FSFSSS"})";
const std::string kEnabled = R"({"use_index_cache": true, "index_topk_pattern": "FSFSSS"})";
const std::string kTypes =
    R"({"indexer_types": ["full", "full", "shared", "full", "shared", "full"]})";
const std::string kBoth = R"({"index_topk_pattern": "FSFSSS",
    "indexer_types": ["full", "full", "shared", "full", "shared", "full"]})";

}  // namespace

TEST_CASE("engines: which key decides") {
  const std::vector<Row> rows = {
      {"vllm", "", false, kPattern, "{}", "FSFSSS", ""},
      {"vllm", "", true, kBoth, "{}", "FSFSSS", "indexer_types disagrees"},
      {"vllm", "", true, kTypes, "{}", "FFFFFF", "indexer_types disagrees"},
      {"vllm", "0.20.2", false, kEnabled, "{}", "FFFFFF", "no index cache"},
      {"vllm", "0.22.1", false, kPattern, "{}", "FFFFFF", "use_index_cache is not true"},
      {"vllm", "0.22.1", false, kEnabled, "{}", "FSFSSS", ""},
      {"sglang", "0.5.19", true, kBoth, "{}", "FSFSSS", "indexer_types disagrees"},
      {"sglang", "", true, kBoth, "{}", "FFSFSF", "index_topk_pattern disagrees"},
      {"sglang", "", false, kPattern, "{}", "FSFSSS", ""},
      {"sglang", "", false, R"({"cli_factor": 2, "index_topk_pattern": "FSFSSS"})", "{}", "FSFSFS",
       "cli_factor decides"},
      {"sglang", "0.5.17", false, R"({"cli_factor": 2, "index_topk_pattern": "FSFSSS"})", "{}",
       "FSFSSS", ""},
      {"transformers", "", true, kBoth, "{}", "FFSFSF", "index_topk_pattern disagrees"},
      {"transformers", "", true, kPattern, "{}", "FSFSSS", ""},
      {"transformers", "", false, kPattern, "{}", "FFFFFF", "only in GLM-5 models"},
      {"tensorrt-llm", "", true, kBoth, "{}", "FSFSSS", "indexer_types disagrees"},
      {"vllm-ascend", "", false, kEnabled, "{}", "FSFSSS", ""},
      {"xllm", "", true, kBoth, "{}", "FSFSSS", "indexer_types disagrees"},
      {"xllm", "", false, R"({"index_topk_pattern": ""})", "{}", "FFFFFF", ""},
      {"lmdeploy", "", true, kBoth, "{}", "FFSFSF", "index_topk_pattern disagrees"},
      {"lmdeploy", "", false, kTypes, "{}", "FFFFFF", "only in GLM-5 models"},
      {"atom", "", true, kBoth, "{}", "FFFFFF", "use_index_cache is not true"},
      {"atom", "", false, kEnabled, "{}", "FSFSSS", ""},
      {"atom", "", false, R"({"index_topk_freq": 2})", "{}", "FFSFSF", ""},
  };
  for (const Row& row : rows) check(row);
}

TEST_CASE("engines: an override of GLM's pattern meets the indexer_types that transformers made") {
  const std::vector<Row> rows = {
      {"vllm", "", true, "{}", kEnabled, "FSFSSS", "indexer_types disagrees"},
      {"vllm-ascend", "", true, "{}", kEnabled, "FSFSSS", "indexer_types"},
      {"sglang", "0.5.19", true, "{}", kPattern, "FSFSSS", "indexer_types"},
      {"sglang", "", true, "{}", kPattern, "FFFFFF", "index_topk_pattern disagrees"},
      {"sglang", "", true, "{}", kBoth, "FFSFSF", "index_topk_pattern disagrees"},
      {"lmdeploy", "", true, "{}", kPattern, "FFFFFF", "index_topk_pattern disagrees"},
      {"lmdeploy", "", true, "{}", kTypes, "FFSFSF", ""},
      {"transformers", "", true, "{}", kPattern, "FFFFFF", "index_topk_pattern"},
      {"sglang", "", false, "{}", kPattern, "FSFSSS", ""},
  };
  for (const Row& row : rows) check(row);
}

TEST_CASE("engines: patterns of the wrong length") {
  const std::string shorter = R"({"use_index_cache": true, "index_topk_pattern": "FSF"})";
  const std::string longer = R"({"use_index_cache": true, "index_topk_pattern": "FSFSSSFF"})";
  const std::vector<Row> rows = {
      {"vllm", "", false, shorter, "{}", "FSFFFF", "layers 3 to 5 count as F"},
      {"vllm", "", false, longer, "{}", "FSFSSS", "last 2 entries"},
      {"vllm", "", false, R"({"index_topk_pattern": ""})", "{}", "FFFFFF", "layers 0 to 5 count"},
      {"sglang", "0.5.12", false, shorter, "{}", "", "3 characters for 6 layers"},
      {"sglang", "", false, shorter, "{}", "FSFFFF", "layers 3 to 5 count as F"},
      {"sglang", "", false, longer, "{}", "FSFSSS", "last 2 entries"},
      {"transformers", "", true, shorter, "{}", "", "3 entries for 6 layers"},
      {"transformers", "", true, longer, "{}", "FSFSSS", "last 2 entries"},
      {"tensorrt-llm", "", false, shorter, "{}", "FSFFFF", "count as F"},
      {"tensorrt-llm", "", false, longer, "{}", "FSFSSS", "last 2 entries"},
      {"vllm-ascend", "", false, shorter, "{}", "FSFFFF", "count as F"},
      {"vllm-ascend", "", false, longer, "{}", "FSFSSS", "last 2 entries"},
      {"xllm", "", false, shorter, "{}", "", "3 characters for 6 layers"},
      {"xllm", "", false, longer, "{}", "", "8 characters for 6 layers"},
      {"lmdeploy", "", true, R"({"indexer_types": ["full", "shared"]})", "{}", "FSFFFF",
       "layers 2 to 5 count as F"},
      {"atom", "", false, shorter, "{}", "FSFFFF", "count as F"},
      {"atom", "", false, longer, "{}", "FSFSSS", "last 2 entries"},
  };
  for (const Row& row : rows) check(row);
}

TEST_CASE("engines: lower case and unknown letters") {
  const std::string lower = R"({"use_index_cache": true, "index_topk_pattern": "FsFfSS"})";
  const std::string other = R"({"use_index_cache": true, "index_topk_pattern": "FRFSSS"})";
  const std::vector<Row> rows = {
      {"vllm", "", false, lower, "{}", "FFFFSS", "\"s\" at layer 1, which counts as F"},
      {"vllm", "", false, other, "{}", "FFFSSS", "\"R\" at layer 1"},
      {"sglang", "", false, lower, "{}", "FFFFSS", "\"s\" at layer 1"},
      {"sglang", "", true, other, "{}", "", "does not accept \"R\""},
      {"transformers", "", true, lower, "{}", "", "does not accept \"s\""},
      {"tensorrt-llm", "", false, lower, "{}", "FSFFSS", ""},
      {"tensorrt-llm", "", false, other, "{}", "FFFSSS", "\"R\" at layer 1"},
      {"vllm-ascend", "", false, lower, "{}", "FFFFSS", "\"s\" at layer 1"},
      {"xllm", "", false, lower, "{}", "FSFFSS", ""},
      {"xllm", "", false, other, "{}", "", "\"R\" at layer 1"},
      {"lmdeploy", "", true,
       R"({"indexer_types": ["full", "Shared", "full", "shared", "full", "full"]})", "{}", "FFFSFF",
       "\"Shared\", which counts as full"},
      {"atom", "", false, lower, "{}", "FFFFSS", "\"s\" at layer 1"},
  };
  for (const Row& row : rows) {
    // A remark that the pattern disagrees comes with every letter that is not read.
    check(row);
  }
}

TEST_CASE("engines: layer 0 shared") {
  const std::string first = R"({"use_index_cache": true, "index_topk_pattern": "SFFSSS"})";
  const std::vector<Row> rows = {
      {"vllm", "", false, first, "{}", "SFFSSS", "uninitialized memory"},
      {"sglang", "", false, first, "{}", "SFFSSS", "first forward pass fails"},
      {"transformers", "", true, first, "{}", "SFFSSS", "forward pass fails"},
      {"tensorrt-llm", "", false, first, "{}", "SFFSSS", "uninitialized memory"},
      {"vllm-ascend", "", false, first, "{}", "SFFSSS", "uninitialized memory"},
      {"xllm", "", false, first, "{}", "SFFSSS", "check stops the engine"},
      {"lmdeploy", "", true, first, "{}", "SFFSSS", "stale indices"},
      {"atom", "", false, first, "{}", "SFFSSS", "uninitialized memory"},
  };
  for (const Row& row : rows) check(row);
}

TEST_CASE("engines: frequency and offset") {
  const std::string freq = R"({"use_index_cache": true, "index_topk_freq": 2})";
  const std::string offset =
      R"({"use_index_cache": true, "index_topk_freq": 2, "index_skip_topk_offset": 3})";
  const std::string null_freq = R"({"use_index_cache": true, "index_topk_freq": null})";
  const std::vector<Row> rows = {
      {"vllm", "", false, freq, "{}", "FFSFSF", ""},
      {"vllm", "", false, offset, "{}", "FFFSFS", ""},
      {"vllm", "0.21.0", false, offset, "{}", "FFSFSF", "index_skip_topk_offset is ignored"},
      {"vllm", "", false, null_freq, "{}", "", "is null"},
      {"sglang", "", false, freq, "{}", "FFSFSF", ""},
      {"sglang", "", false, offset, "{}", "FFFSFS", ""},
      {"sglang", "", false, null_freq, "{}", "FFFFFF", ""},
      {"sglang", "0.5.13", false, null_freq, "{}", "", "is null"},
      {"sglang", "", false, R"({"index_topk_freq": 2, "index_skip_topk_offset": 0})", "{}", "",
       "must be positive"},
      {"transformers", "", true, offset, "{}", "FFFSFS", ""},
      {"transformers", "", true, null_freq, "{}", "", "fails on index_topk_freq: null"},
      {"tensorrt-llm", "", false, offset, "{}", "FFFSFS", ""},
      {"vllm-ascend", "", false, offset, "{}", "FFFSFS", ""},
      {"xllm", "", false, freq, "{}", "FFSFSF", ""},
      {"xllm", "", false, offset, "{}", "FFFSFS", ""},
      {"atom", "", false, freq, "{}", "FFSFSF", ""},
      {"atom", "", false, offset, "{}", "FFFFSF", ""},
  };
  for (const Row& row : rows) check(row);
}

TEST_CASE("sharing keys of the wrong type are refused by name") {
  const auto refusal = [](const std::string& keys) {
    return refusal_of([&] {
      read_schedule(profile("vllm"), config(true, 6, keys), Json::object(), "model/config.json");
    });
  };
  CHECK_THAT(refusal(R"({"index_topk_pattern": 4})"),
             Contains("model/config.json: index_topk_pattern"));
  CHECK_THAT(refusal(R"({"indexer_types": "FSS"})"), Contains("a list"));
  CHECK_THAT(refusal(R"({"index_topk_freq": "4"})"), Contains("an integer"));
  CHECK_THAT(refusal(R"({"index_skip_topk_offset": -10000000000})"), Contains("nine digits"));
  CHECK_THROWS_AS(read_schedule(profile("vllm"), Json::object(), {}, "x"), InputError);
}

TEST_CASE("profiles are chosen by version") {
  CHECK(profile("vllm", "0.33.0").since == "0.25");
  CHECK(profile("vllm", "0.24.0").since == "0.24");
  CHECK(profile("sglang", "0.5.13.post1").since == "0.5.10");
  CHECK(profile("sglang", "0.5.20").since == "0.5.20");
  CHECK(profile("vllm-ascend", "0.27.1rc1").since == "0.27");
  CHECK(choose_profile("vllm", "0.33.0").warning.empty());
  CHECK(profile("vllm", "v0.22.1").since == "0.21");
  CHECK_THAT(choose_profile("vllm", "0.40").warning, Contains("newer than 0.33.0"));
  CHECK_THAT(choose_profile("sglang", "0.4.1").warning, Contains("older than any"));
  CHECK_THAT(choose_profile("vllm", "nightly").warning, Contains("are not known"));
  CHECK_THAT(choose_profile("xllm", "1.0").warning, Contains("are not known"));
  CHECK(choose_profile("vllm", "").profile->since == "0.25");
  CHECK_THROWS_WITH(choose_profile("vlm", ""), Contains("unknown engine"));
}

TEST_CASE("engines: Hy4's configuration class states a schedule where config.json does not") {
  const auto read = [](const char* engine, const std::string& keys, const std::string& overrides) {
    Json json = Json::parse(keys);
    json["num_hidden_layers"] = 7;
    json["model_type"] = "hy_v4";
    return read_schedule(profile(engine), json, Json::parse(overrides), "test");
  };
  for (const char* engine : {"vllm", "sglang", "transformers"}) {
    INFO(engine);
    CHECK(read(engine, "{}", "{}").schedule == "FFSSSFS");
    // The class has stated indexer_types by then.
    const ConfigReading ignored = read(engine, "{}", R"({"index_topk_pattern": "FSSSSSS"})");
    CHECK(ignored.schedule == "FFSSSFS");
    CHECK(ignored.decided_by == "indexer_types");
    const std::string types =
        R"({"indexer_types": ["full", "shared", "full", "full", "full", "full", "full"]})";
    CHECK(read(engine, "{}", types).schedule == "FSFFFFF");
    CHECK_THAT(read(engine, "{}", R"({"indexer_types": ["full", "shared"]})").failure,
               Contains("2 entries for 7 layers"));
    CHECK_THAT(read(engine, R"({"indexer_types": ["full", "F", "full", "full", "full", "full",
                                                  "full"]})",
                    "{}")
                   .failure,
               Contains("has \"F\" at layer 1"));
  }
  CHECK(read("lmdeploy", "{}", "{}").schedule == "FFFFFFF");
}

TEST_CASE("engines: DeepSeek-V4 has a letter for each layer of ratio 4") {
  const auto read = [](const char* engine, const std::string& overrides) {
    const Json json = {{"num_hidden_layers", 7},
                       {"model_type", "deepseek_v4"},
                       {"compress_ratios", {0, 4, 128, 4, 128, 4, 4, 4}}};  // the last one is MTP's
    return read_schedule(profile(engine), json, Json::parse(overrides), "test");
  };
  const std::string flag = R"("use_index_cache": true)";
  CHECK(read("vllm-ascend", "{}").schedule == "FFFF");
  CHECK(read("vllm-ascend", R"({"index_topk_pattern": "FSSS"})").schedule == "FFFF");
  CHECK(read("vllm-ascend", "{" + flag + R"(, "index_topk_pattern": "FSFS"})").schedule == "FSFS");
  CHECK(read("vllm-ascend", "{" + flag + R"(, "index_topk_pattern": "FS"})").schedule == "FSFF");
  CHECK_THAT(read("vllm-ascend", "{" + flag + R"(, "index_topk_pattern": "SFFF"})").failure,
             Contains("must begin with F"));
  CHECK_THAT(read("vllm-ascend", "{" + flag + R"(, "index_topk_pattern": ""})").failure,
             Contains("must begin with F"));
  // max(rank - 1, 0) mod freq, whatever the offset.
  CHECK(read("vllm-ascend", "{" + flag + R"(, "index_topk_freq": 2})").schedule == "FFSF");
  CHECK(read("vllm-ascend", "{" + flag + R"(, "index_topk_freq": 2, "index_skip_topk_offset": 3})")
            .schedule == "FFSF");
  for (const char* engine : {"vllm", "sglang", "transformers", "lmdeploy"}) {
    const ConfigReading reading = read(engine, "{" + flag + R"(, "index_topk_pattern": "FSFS"})");
    CHECK(reading.schedule == "FFFF");
    CHECK_THAT(reading.remarks.front(), Contains("none of its released versions that were read"));
  }
}

TEST_CASE("which layers of DeepSeek-V4 have letters is read from either form of its layers") {
  Json json = {{"num_hidden_layers", 4}, {"model_type", "deepseek_v4"}};
  CHECK_THROWS_WITH(lettered_layers(json, "test"), Contains("not known"));
  json["layer_types"] = {"sliding_attention", "compressed_sparse_attention",
                         "heavily_compressed_attention", "compressed_sparse_attention"};
  CHECK(lettered_layers(json, "test") == std::vector<std::size_t>{1, 3});
  // vllm-ascend counts by compress_ratios, which this form lacks.
  const ConfigReading reading =
      read_schedule(profile("vllm-ascend"), json,
                    {{"use_index_cache", true}, {"index_topk_pattern", "FS"}}, "test");
  CHECK(reading.schedule == "FF");
  CHECK_THAT(reading.remarks.front(), Contains("compress_ratios"));
  json["compress_ratios"] = {4, 0, 4, 4, 4};
  CHECK(lettered_layers(json, "test") == std::vector<std::size_t>{0, 2, 3});
  json["compress_ratios"] = {0, 0, 128, 1};
  CHECK_THROWS_WITH(lettered_layers(json, "test"), Contains("no indexer"));
  json["model_type"] = "deepseek_v32";
  CHECK(lettered_layers(json, "test").size() == 4);
}
