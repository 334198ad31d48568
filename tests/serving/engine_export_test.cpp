// SPDX-License-Identifier: Apache-2.0
#include "serving/engine_export.h"

#include "core/error.h"
#include "serving/config_reading.h"
#include "serving/pattern_forms.h"
#include "serving/published.h"
#include "support/catch.h"
#include "support/refusal.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

const EngineProfile& profile(const std::string& engine, const std::string& version = "") {
  return *choose_profile(engine, version).profile;
}

std::string refusal(const EngineProfile& engine, const Pattern& pattern, const ServedModel& model,
                    const ServedStages& stages = {}) {
  return refusal_of([&] { export_pattern(engine, pattern, model, stages); });
}

ServedModel glm(std::size_t layers, const std::string& keys = "{}") {
  Json config = Json::parse(keys);
  config["num_hidden_layers"] = layers;
  config["model_type"] = "glm_moe_dsa";
  config["architectures"] = Json::array({"GlmMoeDsaForCausalLM"});
  return {"GlmMoeDsaForCausalLM", std::vector<bool>(layers, true), config};
}

ServedModel deepseek(std::size_t layers) {
  return {"DeepseekV32ForCausalLM", std::vector<bool>(layers, true),
          Json{{"num_hidden_layers", layers}, {"model_type", "deepseek_v32"}}};
}

ServedModel hy4(std::size_t layers) {
  return {"HYV4ForCausalLM", std::vector<bool>(layers, true),
          Json{{"num_hidden_layers", layers}, {"model_type", "hy_v4"}}};
}

ServedModel axk2(std::size_t layers) {
  return {"AXK2ForCausalLM", std::vector<bool>(layers, true),
          Json{{"num_hidden_layers", layers}, {"model_type", "axk2"}}};
}

// Layers 1, 3, 5 and 6 have letters.
ServedModel deepseek_v4() {
  return {"DeepseekV4ForCausalLM", std::vector<bool>(4, true),
          Json{{"num_hidden_layers", 8},
               {"model_type", "deepseek_v4"},
               {"compress_ratios", {0, 4, 128, 4, 128, 4, 4, 128, 0}}}};
}

bool glm_only(const std::string& engine) {
  return profile(engine).glm_only;
}

}  // namespace

TEST_CASE("what is pasted, engine by engine") {
  const Pattern pattern = Pattern::parse("FSFS");
  const auto text = [&](const char* engine, const char* version = "") {
    return export_pattern(profile(engine, version), pattern, glm(4), {}).text;
  };
  const std::string pasted = R"('{"use_index_cache":true,"index_topk_pattern":"FSFS"}')"
                             "\n";
  CHECK(text("vllm") == "--hf-overrides " + pasted);
  CHECK(text("vllm-ascend") == "--hf-overrides " + pasted);
  CHECK(text("sglang", "0.5.19") ==
        "--json-model-override-args '{\"index_topk_pattern\":\"FSFS\"}'\n");
  CHECK(text("sglang") == R"(--json-model-override-args '{"index_topk_pattern":"FSFS",)"
                          R"("indexer_types":["full","shared","full","shared"]}')"
                          "\n");
  CHECK(text("transformers") == "\"indexer_types\": [\"full\",\"shared\",\"full\",\"shared\"]\n");
  CHECK(text("lmdeploy") ==
        "--hf-overrides '{\"indexer_types\":[\"full\",\"shared\",\"full\",\"shared\"]}'\n");
  CHECK(text("tensorrt-llm") ==
        "model_kwargs:\n  use_index_cache: true\n  index_topk_pattern: \"FSFS\"\n");
  CHECK(text("xllm") ==
        "\"use_index_cache\": true,\n\"index_topk_pattern\": \"FSFS\",\n"
        "\"indexer_types\": [\"full\",\"shared\",\"full\",\"shared\"]\n");
}

TEST_CASE("published patterns come back from every form and through every engine") {
  for (const Published& published : published_patterns()) {
    INFO(published.name);
    const Pattern pattern = Pattern::parse(published.text);
    CHECK(pattern.full_layers() == published.full);
    const std::size_t layers = pattern.layers();
    const Json ids = published.full;
    const Json types = indexer_types(pattern);
    std::string listed;
    for (const std::size_t id : published.full) {
      listed += (listed.empty() ? "" : ",") + std::to_string(id);
    }
    std::string words;
    for (const auto& type : types) words += (words.empty() ? "" : ",") + type.get<std::string>();
    for (const std::string& form :
         {published.text, listed, words, ids.dump(), types.dump(), Json(published.text).dump()}) {
      if (form.front() == '"') continue;
      CHECK(parse_pattern_form(form, layers, "test") == pattern);
    }
    for (const std::string& engine : engine_names()) {
      for (const ServedModel& model : {glm(layers), deepseek(layers)}) {
        if (glm_only(engine) && model.architecture != "GlmMoeDsaForCausalLM") continue;
        INFO(engine << " " << model.architecture);
        const EngineProfile newest = profile(engine);
        const EngineExport result = export_pattern(newest, pattern, model, {});
        CHECK(pattern_from_json(result.keys, layers, "test", &newest) == pattern);
        const Json patched =
            patched_config(newest, pattern, model.config, model.has_indexer, "config.json");
        CHECK(pattern_from_json(patched, std::nullopt, "test", &newest) == pattern);
      }
    }
  }
  CHECK(parse_pattern_form("freq:4,offset:3", 78, "test").text() == published_patterns()[3].text);
  CHECK(parse_pattern_form("freq:4,offset:2,rule:D", 78, "test").text() ==
        published_patterns()[3].text);
}

TEST_CASE(
    "GLM-5.2's own keys give way to the searched pattern, and layers without indexer stay S") {
  const Pattern native = Pattern::parse(published_patterns()[3].text);
  ServedModel model = glm(78, R"({"index_topk_freq": 4, "index_skip_topk_offset": 3,
                                  "index_topk_pattern": null, "rms_norm_eps": 1e-5})");
  model.config["indexer_types"] = indexer_types(native);
  for (std::size_t layer = 0; layer < 78; ++layer) model.has_indexer[layer] = native.is_full(layer);
  const Pattern searched = native.with_shared(6).with_shared(50);
  for (const std::string& engine : engine_names()) {
    INFO(engine);
    CHECK_NOTHROW(export_pattern(profile(engine), searched, model, {}));
    const Json patched =
        patched_config(profile(engine), searched, model.config, model.has_indexer, "config.json");
    CHECK_FALSE(patched.contains("index_topk_freq"));
    CHECK_FALSE(patched.contains("index_skip_topk_offset"));
    CHECK(patched["rms_norm_eps"] == 1e-5);
  }
  CHECK_THAT(refusal(profile("vllm"), Pattern::all_full(78), model),
             Contains("layer 3 has no indexer tensors"));
  // A shared type would tell vllm-ascend that the weights of layers 6 and 50 do not exist.
  const Json ascend =
      patched_config(profile("vllm-ascend"), searched, model.config, model.has_indexer, "x");
  CHECK(ascend["indexer_types"] == indexer_types(native));
}

TEST_CASE("what an engine cannot run is refused with the reason") {
  const Pattern pattern = Pattern::parse("FSFS");
  CHECK_THAT(refusal(profile("vllm", "0.20.0"), pattern, deepseek(4)), Contains("no index cache"));
  CHECK_THAT(refusal(profile("vllm", "0.24.0"), pattern, deepseek(4)),
             Contains("indexer weights of layer 1"));
  ServedModel shared = glm(4);
  shared.has_indexer = {true, false, true, false};
  CHECK(refusal(profile("vllm", "0.24.0"), pattern, shared) == "accepted");
  CHECK_THAT(refusal(profile("transformers"), pattern, deepseek(4)),
             Contains("only in GLM-5 models"));
  CHECK_THAT(refusal(profile("lmdeploy"), pattern, deepseek(4)), Contains("only in GLM-5 models"));
  CHECK_THAT(refusal(profile("vllm"), pattern, deepseek(5)), Contains("wrong length"));
  // A null that the engine's configuration class cannot take.
  CHECK_THAT(refusal(profile("lmdeploy"), pattern, glm(4, R"({"index_topk_freq": null})")),
             Contains("null"));
  CHECK_THROWS_AS(patched_config(profile("vllm"), pattern, deepseek(5).config, {}, "c"),
                  InputError);
}

TEST_CASE("a config.json that an override cannot overrule is refused, not a bug") {
  const Pattern pattern = Pattern::parse("FSSS");
  ServedModel factor = deepseek(4);
  factor.config["cli_factor"] = 2;
  CHECK_THAT(refusal(profile("sglang", "0.5.19"), pattern, factor),
             Contains("cli_factor of the model's config.json decides") && Contains("run FSFS") &&
                 Contains("--write-config"));
  CHECK(refusal(profile("sglang", "0.5.17"), pattern, factor) == "accepted");
  CHECK(refusal(profile("sglang"), pattern, factor) == "accepted");  // sends indexer_types too
  const Json patched = patched_config(profile("sglang", "0.5.19"), pattern, factor.config, {}, "c");
  CHECK_FALSE(patched.contains("cli_factor"));
  // A config.json without architectures, of a model that is not GLM.
  const ServedModel unnamed{"", {}, deepseek(4).config};
  CHECK_THAT(refusal(profile("lmdeploy"), pattern, unnamed),
             Contains("only in GLM-5 models; this is another model"));
  const ServedModel other_length{"", {}, deepseek(5).config};
  CHECK_THAT(refusal(profile("vllm"), pattern, other_length), Contains("wrong length"));
}

TEST_CASE("pipeline stages that begin with S, engine by engine") {
  // GLM-5 1/2 is F at 39, the start of the second of two stages, and S at 19, that of four.
  const Pattern half = Pattern::parse(published_patterns()[1].text);
  const ServedModel model = glm(78);
  struct Row {
    std::string engine;
    std::string version;
    std::string four;  // what is said about four stages
  };
  const std::vector<Row> rows = {
      {"vllm", "0.21", "reads uninitialized memory"},
      {"vllm", "", "VLLM_PP_LAYER_PARTITION="},
      {"sglang", "0.5.13", "SGLANG_PP_LAYER_PARTITION="},
      {"sglang", "0.5.14", "accepted"},
      {"sglang", "", "accepted"},
      {"transformers", "", "the forward pass fails"},
      {"tensorrt-llm", "", "it is not known"},
      {"vllm-ascend", "0.25.1", "reads uninitialized memory"},
      {"vllm-ascend", "0.27.1", "refuses to start"},
      {"vllm-ascend", "", "accepted"},
      {"xllm", "", "it is not known"},
      {"lmdeploy", "", "it is not known"},
      {"atom", "", "accepted"},
  };
  for (const Row& row : rows) {
    INFO(row.engine << " " << row.version);
    const EngineProfile& engine = profile(row.engine, row.version);
    CHECK(refusal(engine, half, model, {.count = 2, .partition = {}}) == "accepted");
    const std::string four = refusal(engine, half, model, {.count = 4, .partition = {}});
    CHECK_THAT(four, Contains(row.four));
    if (row.four != "accepted") CHECK_THAT(four, Contains("shared layer 19"));
    CHECK(refusal(engine, half, model, {.count = 0, .partition = {18, 20, 20, 20}}) == "accepted");
  }
  CHECK_THAT(refusal(profile("vllm"), half, model, {.count = 0, .partition = {19, 20, 20, 19}}),
             Contains("shared layer 19"));
  const auto caveats = export_pattern(profile("vllm"), half, model, {}).caveats;
  CHECK_THAT(caveats.back(), Contains("4 (19 59)") && Contains("8 (9 19 29 49 59 69)"));
}

TEST_CASE("stage starts of the published patterns") {
  // Where even stages of vLLM begin on S (specification of the engines, section 6).
  const auto hazards = [](std::size_t pattern) {
    const Pattern text = Pattern::parse(published_patterns()[pattern].text);
    return export_pattern(profile("vllm"), text, glm(text.layers()), {}).caveats.back();
  };
  CHECK_THAT(hazards(0), Contains("2 (24), 4 (12 24 36), 8 ("));
  CHECK_THAT(hazards(2), Contains("4 (19 59), 8 (9 19 29 49 59 69)"));
  CHECK_THAT(hazards(3), Contains("2 (39), 4 (19 39 59), 8 (9 19 29 39 49 59 69)"));
}

TEST_CASE("the engines of a pattern file") {
  const Json all = engines_json(Pattern::parse("FSFS"), glm(4));
  CHECK(all.size() == 8);
  CHECK(all["vllm"]["hf_overrides"]["index_topk_pattern"] == "FSFS");
  const Json some = engines_json(Pattern::parse("FSFS"), deepseek(4));
  CHECK_FALSE(some.contains("transformers"));
  CHECK(some["sglang"]["json_model_override_args"]["indexer_types"].size() == 4);
}

TEST_CASE(
    "patterns with trained indexers are exported only to engines that were seen to load them") {
  const Pattern pattern = Pattern::parse("FSSFSS");
  ServedModel model = glm(6);
  model.needs_trained_indexers = true;
  for (const char* engine : {"vllm", "sglang", "transformers"}) {
    CAPTURE(engine);
    const auto caveats = export_pattern(profile(engine), pattern, model, {}).caveats;
    CHECK(std::ranges::any_of(caveats, [](const std::string& caveat) {
      return caveat.find("indexers that were trained for it") != caveat.npos;
    }));
  }
  for (const char* engine : {"tensorrt-llm", "vllm-ascend", "xllm", "lmdeploy", "atom"}) {
    CAPTURE(engine);
    CHECK_THAT(refusal(profile(engine), pattern, model), Contains("trained"));
  }
  CHECK_THAT(refusal(profile("vllm", "0.24.0"), pattern, model), Contains("trained"));
}

TEST_CASE("Hy4 takes indexer_types where an engine shares in it, and nothing else") {
  const Pattern pattern = Pattern::parse("FSFSSS");
  const std::string types = R"(["full","shared","full","shared","shared","shared"])";
  const auto text = [&](const char* engine) {
    return export_pattern(profile(engine), pattern, hy4(6), {}).text;
  };
  CHECK(text("vllm") == "--hf-overrides '{\"indexer_types\":" + types + "}'\n");
  CHECK(text("sglang") == "--json-model-override-args '{\"indexer_types\":" + types + "}'\n");
  CHECK(text("transformers") == "\"indexer_types\": " + types + "\n");
  for (const char* engine : {"vllm", "sglang", "transformers"}) {
    INFO(engine);
    Json stated = hy4(6).config;
    stated["index_topk_pattern"] = "FFFFFF";
    const Json patched = patched_config(profile(engine), pattern, stated, {}, "c");
    CHECK(patched["indexer_types"] == Json::parse(types));
    CHECK_FALSE(patched.contains("index_topk_pattern"));
    CHECK(read_schedule(profile(engine), patched, Json::object(), "c").schedule == pattern.text());
  }
  for (const char* engine : {"vllm-ascend", "tensorrt-llm", "xllm", "lmdeploy", "atom"}) {
    CHECK_THAT(refusal(profile(engine), pattern, hy4(6)), Contains("shares index sets in Hy4"));
  }
  ServedModel trained = hy4(6);
  trained.needs_trained_indexers = true;
  CHECK_THAT(refusal(profile("vllm"), pattern, trained), Contains("was not seen to load"));
}

TEST_CASE("no engine shares in A.X-K2, and every one says so") {
  const Pattern pattern = Pattern::parse("FSFSSS");
  for (const std::string& engine : engine_names()) {
    INFO(engine);
    CHECK_THAT(refusal(profile(engine), pattern, axk2(6)), Contains("shares index sets in A.X-K2"));
    ServedModel by_name = axk2(6);
    by_name.config = Json();  // only the architecture is known
    CHECK_THAT(refusal(profile(engine), pattern, by_name), Contains("A.X-K2"));
    const ConfigReading reading =
        read_schedule(profile(engine), axk2(6).config, Json{{"index_topk_pattern", "FSFSSS"}}, "c");
    CHECK(reading.schedule == "FFFFFF");
    CHECK(reading.remarks.size() == 1);
  }
  CHECK(engines_json(pattern, axk2(6)).empty());
  CHECK(engines_json(pattern, hy4(6)).size() == 3);
}

TEST_CASE("DeepSeek-V4 is exported to the engine that shares in it, with a letter per indexer") {
  const Pattern pattern = Pattern::parse("FSFS");
  const EngineExport result = export_pattern(profile("vllm-ascend"), pattern, deepseek_v4(), {});
  CHECK(result.keys == Json{{"use_index_cache", true}, {"index_topk_pattern", "FSFS"}});
  CHECK_THAT(result.caveats.front(), Contains("layers of ratio 4"));
  const Json config = patched_config(profile("vllm-ascend"), pattern, deepseek_v4().config,
                                     std::vector<bool>(4, true), "test");
  CHECK_FALSE(config.contains("indexer_types"));
  CHECK(read_schedule(profile("vllm-ascend"), config, Json::object(), "test").schedule == "FSFS");
  CHECK_THAT(refusal(profile("vllm-ascend"), Pattern::parse("FSFSFSFS"), deepseek_v4()),
             Contains("it has 8 letters, patterns of this model have 4"));
  for (const char* engine :
       {"vllm", "sglang", "transformers", "tensorrt-llm", "xllm", "lmdeploy"}) {
    CHECK_THAT(
        refusal(profile(engine), pattern, deepseek_v4()),
        Contains("none of its released versions that were read shares index sets in DeepSeek-V4"));
  }
  ServedModel unknown = deepseek_v4();  // as a result knows it, without config.json
  unknown.config = {};
  CHECK(export_pattern(profile("vllm-ascend"), pattern, unknown, {}).keys == result.keys);
  CHECK_THAT(refusal(profile("vllm-ascend"), pattern, unknown, {.count = 2, .partition = {}}),
             Contains("is not known without the model's config.json"));
}

TEST_CASE("pipeline stages of DeepSeek-V4 are those of its layers, not of its letters") {
  const auto stages = [](std::vector<std::size_t> sizes) {
    return ServedStages{.count = 0, .partition = std::move(sizes)};
  };
  const Pattern pattern = Pattern::parse("FSFS");
  // The second stage has layers 4 to 7, of which 5 is the first with a letter, an F.
  CHECK_NOTHROW(export_pattern(profile("vllm-ascend"), pattern, deepseek_v4(), stages({4, 4})));
  CHECK_NOTHROW(export_pattern(profile("vllm-ascend"), pattern, deepseek_v4(),
                               {.count = 2, .partition = {}}));
  // No layer of the last one has a letter.
  CHECK_NOTHROW(export_pattern(profile("vllm-ascend"), pattern, deepseek_v4(), stages({7, 1})));
  CHECK_THAT(refusal(profile("vllm-ascend"), pattern, deepseek_v4(), stages({2, 6})),
             Contains("shared layer 3") && Contains("another pattern"));
  CHECK_THAT(refusal(profile("vllm-ascend", "0.26"), pattern, deepseek_v4(), stages({6, 2})),
             Contains("shared layer 6") && Contains("uninitialized memory"));
}
