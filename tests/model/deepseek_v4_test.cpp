// SPDX-License-Identifier: Apache-2.0
// DeepSeek-V4's config.json in both forms, and its storage: FP4, E8M0 scales, tables of experts.
#include "backend/cpu/cpu_backend.h"
#include "core/error.h"
#include "io/files.h"
#include "io/json.h"
#include "io/yaml.h"
#include "model/dequantize.h"
#include "model/families/families.h"
#include "model/model.h"
#include "model/model_weights.h"
#include "model/sizes.h"
#include "model/tensor_registry.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/model_copy.h"

#include <algorithm>
#include <cmath>
#include <functional>

using namespace indexcache;
using namespace indexcache::test;

namespace {

Json released() {
  return parse_json(read_file(golden("deepseek_v4_r128_tiny") / "config.json"), "config.json");
}

// The same as transformers saves it.
Json saved() {
  Json json = released();
  for (const char* key : {"compress_ratios", "num_hash_layers", "rope_scaling", "rope_theta",
                          "compress_rope_theta", "qk_rope_head_dim"}) {
    json.erase(key);
  }
  json["layer_types"] = {"sliding_attention", "compressed_sparse_attention",
                         "heavily_compressed_attention", "compressed_sparse_attention"};
  json["compress_rates"] = {{"compressed_sparse_attention", 4},
                            {"heavily_compressed_attention", 128}};
  json["mlp_layer_types"] = {"hash_moe", "moe", "moe", "moe"};
  json["partial_rotary_factor"] = 0.25;
  json["rope_parameters"] = {
      {"main", {{"rope_type", "default"}, {"rope_theta", 10000}, {"partial_rotary_factor", 0.25}}},
      {"compress",
       {{"rope_type", "yarn"},
        {"rope_theta", 160000},
        {"partial_rotary_factor", 0.25},
        {"factor", 16},
        {"beta_fast", 32},
        {"beta_slow", 1},
        {"attention_factor", 1.0},
        {"original_max_position_embeddings", 32}}}};
  return json;
}

ModelConfig read(const Json& json) {
  return parse_config(json, "config.json");
}

std::string why_refused(const Json& json) {
  try {
    read(json);
    return "accepted";
  } catch (const InputError& error) {
    return error.describe();
  }
}

std::string why_refused(const std::string& key, const Json& value) {
  Json json = released();
  if (value.is_null()) {
    json.erase(key);
  } else {
    json[key] = value;
  }
  return why_refused(json);
}

std::string why_refused(const ModelCopy& model) {
  try {
    open_model(model.path());
    return "accepted";
  } catch (const InputError& error) {
    return error.describe();
  }
}

}  // namespace

TEST_CASE("DeepSeek-V4 is read as released and as transformers saves it") {
  for (const Json& json : {released(), saved()}) {
    const ModelConfig c = read(json);
    CHECK(c.family == &kDeepseekV4);
    REQUIRE(c.compressed);
    CHECK(c.compressed->ratios == std::vector<std::int64_t>{1, 4, 128, 4});
    CHECK(c.compressed->window == 32);
    CHECK(c.compressed->rope_theta == 160000);
    CHECK(c.rope_theta == 10000);
    CHECK_FALSE(c.yarn);
    REQUIRE(c.compressed->yarn);
    CHECK(c.compressed->yarn->factor == 16);
    CHECK(c.compressed->yarn->attention_factor == 1.0);
    CHECK(c.qk_rope_head_dim == 8);
    CHECK(c.latent_width() == 32);
    CHECK(c.softmax_scale() == Approx(1 / std::sqrt(32.0)));
    CHECK(c.hash_layers == 1);
    CHECK(c.shared_limit == 1);
    CHECK(c.router.score == RouterScore::sqrt_softplus);
    CHECK(c.streams->mixing_rounds == 20);
    CHECK(c.streams->coefficients() == 20);
    CHECK(c.unread_keys.empty());
    CHECK(c.sharing_problem.empty());
  }
}

TEST_CASE("a pattern of DeepSeek-V4 has a letter for each layer with an indexer") {
  const ModelConfig c = read(released());
  CHECK(c.selecting_layers() == std::vector<std::size_t>{1, 3});
  CHECK(c.letters() == 2);
  CHECK(c.letter_of(3) == 1);
  CHECK(c.native_full.size() == 2);
  CHECK(c.is_marked({false, true}, 3));
  CHECK_FALSE(c.is_marked({true, true}, 2));
  // Position 4K + 2 sees K entries, the next one more.
  CHECK(c.first_selecting_position() == 4 * c.index_topk + 3);
  const ModelConfig other = read_config(golden("deepseek_v32_tiny"));
  CHECK(other.letters() == 6);
  CHECK(other.letter_of(5) == 5);
}

TEST_CASE("the shape of DeepSeek-V4-Flash has 21 letters") {
  const auto path = std::filesystem::path(INDEXCACHE_SOURCE_DIR) / "configs/deepseek-v4-flash.yaml";
  const ModelConfig c = parse_config(parse_yaml(read_file(path), path.string())["config"], "shape");
  std::vector<std::size_t> layers;
  for (std::size_t layer = 2; layer <= 42; layer += 2) layers.push_back(layer);
  CHECK(c.selecting_layers() == layers);
  CHECK(c.layer_numbers() == LayerNumbers(layers, 43));
  CHECK(c.first_selecting_position() == 2051);
  CHECK(c.softmax_scale() == Approx(std::pow(512, -0.5)));
  CHECK(c.packs_experts);
  // The parameters of an indexer with its entries.
  CHECK(parameters_of(indexer_rows(c.family->layer_weights(c, 2))) == 10749056);
  CHECK(parameters_of(indexer_rows(c.family->layer_weights(c, 3))) == 0);
}

TEST_CASE("both forms of DeepSeek-V4's layers may be there if they agree") {
  Json json = saved();
  json["compress_ratios"] = {1, 4, 128, 4, 0};  // 1 is 0
  json["num_hash_layers"] = 1;
  CHECK(why_refused(json) == "accepted");
  json["num_hash_layers"] = 2;
  CHECK_THAT(why_refused(json), Contains("num_hash_layers is 2"));
  json["compress_ratios"] = {0, 128, 4, 4};
  CHECK_THAT(why_refused(json), Contains("contradicts layer_types"));
}

TEST_CASE("what DeepSeek-V4's config.json leaves out or cannot have is named") {
  CHECK_THAT(why_refused("compress_ratios", nullptr),
             Contains("compress_ratios") && Contains("layer_types"));
  CHECK_THAT(why_refused("compress_ratios", {0, 4, 128}), Contains("at least 4 integers"));
  CHECK_THAT(why_refused("compress_ratios", {0, 4, -1, 4}), Contains("layer 2 is -1"));
  CHECK_THAT(why_refused("compress_ratios", {0, 8, 128, 0}), Contains("has no indexer"));
  CHECK_THAT(why_refused("num_key_value_heads", 4), Contains("only 1"));
  CHECK_THAT(why_refused("scoring_func", "sigmoid"), Contains("only sqrtsoftplus"));
  CHECK_THAT(why_refused("o_groups", 3), Contains("4 heads do not divide into 3 groups"));
  CHECK_THAT(why_refused("expert_dtype", "int4"), Contains("int4"));
  CHECK_THAT(why_refused("compress_rope_theta", nullptr), Contains("compress_rope_theta"));
  CHECK_THAT(why_refused("tie_word_embeddings", true), Contains("only false"));
  Json json = saved();
  json["mlp_layer_types"] = {"moe", "hash_moe", "moe", "moe"};
  CHECK_THAT(why_refused(json), Contains("first layers"));
  json = saved();
  json["compress_rates"]["compressed_sparse_attention"] = 8;
  CHECK_THAT(why_refused(json), Contains("only 4"));
  json = saved();
  json["rope_parameters"].erase("compress");
  CHECK_THAT(why_refused(json), Contains("rope_parameters: compress"));
  json["rope_parameters"] = saved()["rope_parameters"];
  json["rope_parameters"]["compress"]["attention_factor"] = 1.277;
  CHECK_THAT(why_refused(json), Contains("attention_factor of 1"));
  // Engines read these in different ways, and the layers that own an indexer decide.
  json = released();
  json["index_topk_pattern"] = "FS";
  CHECK_THAT(read(json).sharing_problem, Contains("different layers in different engines"));
}

TEST_CASE("FP4 is two numbers in a byte, the first one in the low four bits") {
  const ModelConfig config = read(released());
  const auto values = [&](const std::vector<StoredTensor>& tensors) {
    const TempFolder folder;
    write_safetensors(folder / "model.safetensors", tensors);
    const Checkpoint checkpoint(folder.path());
    check_readable(config, checkpoint, "w.weight");
    return read_floats(config, checkpoint, "w.weight");
  };
  const std::string bytes = "\x10\x32\x54\x76\x98\xba\xdc\xfe" + std::string(12, '\x22');
  const auto read_back =
      values({{"w.weight", "I8", {1, 20}, bytes}, {"w.scale", "F8_E8M0", {1, 2}, "\x80\x7e"}});
  CHECK(std::vector<float>(read_back.begin(), read_back.begin() + 17) ==
        std::vector<float>{0, 1, 2, 3, 4, 6, 8, 12, -0.0f, -1, -2, -3, -4, -6, -8, -12, 2});
  CHECK(std::vector<float>(read_back.begin() + 32, read_back.end()) == std::vector<float>(8, 0.5f));
  const auto refused = [&](const std::vector<StoredTensor>& tensors) {
    try {
      values(tensors);
      return std::string("accepted");
    } catch (const InputError& error) {
      return error.describe();
    }
  };
  CHECK_THAT(refused({{"w.weight", "I8", {1, 2}, "ab"}}), Contains("w.scale is missing"));
  CHECK_THAT(refused({{"w.weight", "I8", {1, 2}, "ab"}, {"w.scale", "F8_E8M0", {1, 2}, "ab"}}),
             Contains("pairs of numbers take [1, 1]"));
  CHECK_THAT(
      refused({{"w.weight", "I8", {1, 2}, "ab"}, {"w.scale", "F32", {1, 1}, std::string(4, '\0')}}),
      Contains("scales are F32"));
}

TEST_CASE("DeepSeek-V4's storage is checked before a forward pass") {
  const auto changed = [](const char* name, const std::function<void(StoredTensor&)>& change) {
    const ModelCopy model("deepseek_v4_fp_tiny");
    model.change_tensors([&](auto& tensors) {
      for (StoredTensor& tensor : tensors) {
        if (tensor.name == name) change(tensor);
      }
    });
    return why_refused(model);
  };
  const char* table = "layers.1.ffn.gate.tid2eid";
  const char* expert = "layers.1.ffn.experts.0.w1.weight";
  CHECK(changed("none", {}) == "accepted");
  CHECK_THAT(changed(table,
                     [](StoredTensor& t) {
                       t.dtype = "I32";
                       t.bytes.resize(t.bytes.size() / 2);
                     }),
             Contains(table) && Contains("not I64"));
  CHECK_THAT(changed(expert,
                     [](StoredTensor& t) {
                       t.shape = {80, 96};
                     }),
             Contains(expert) && Contains("[80, 96]"));
  CHECK_THAT(changed(table, [](StoredTensor& t) { t.name += "s"; }), Contains(table));
  CHECK_THAT(changed("layers.1.attn.wkv.scale", [](StoredTensor& t) { t.name += "_inv"; }),
             Contains("layers.1.attn.wkv.scale is missing"));
  CHECK_THAT(changed("embed.weight", [](StoredTensor& t) { t.name = "model." + t.name; }),
             Contains("there is no embed.weight") && Contains("as it was released"));
}

TEST_CASE("a scale next to a weight that needs none is refused") {
  const ModelCopy model("deepseek_v4_fp_tiny");
  model.change_tensors([](auto& tensors) {
    tensors.push_back({"layers.1.ffn.gate.scale", "F8_E8M0", {1, 2}, "\x7f\x7f"});
  });
  CHECK_THAT(why_refused(model),
             Contains("leftover scale") && Contains("layers.1.ffn.gate.weight is stored as BF16"));
}

TEST_CASE("a table that names an expert which does not exist is refused") {
  const ModelCopy model("deepseek_v4_fp_tiny");
  const std::string name = "layers.1.ffn.gate.tid2eid";
  model.change_tensors([&](auto& tensors) {
    for (StoredTensor& tensor : tensors) {
      if (tensor.name == name) tensor.bytes[16] = '\x04';
    }
  });
  const Model opened = open_model(model.path());
  CpuBackend backend;
  ModelWeights weights(opened.config, opened.checkpoint, opened.has_indexer, backend,
                       Placement::resident);
  CHECK(backend.download_indices(weights.layer(0).moe->hash_table).size() == 96 * 2);
  try {
    weights.layer(1);
    FAIL("it is accepted");
  } catch (const InputError& error) {
    CHECK_THAT(error.describe(), Contains(name) && Contains("element 2 of [96, 2] is 4") &&
                                     Contains("there are 4 experts"));
  }
}
