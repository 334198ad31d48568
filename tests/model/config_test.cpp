// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include "core/error.h"
#include "io/files.h"
#include "io/json.h"
#include "model/families/families.h"
#include "model/rope.h"
#include "support/catch.h"
#include "support/files.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

Json golden_config(const std::string& name) {
  return parse_json(read_file(golden(name) / "config.json"), name);
}

ModelConfig parsed(const Json& json) {
  const TempFolder folder;
  write_text(folder / "config.json", json.dump());
  return read_config(folder.path());
}

std::string refusal(const Json& json) {
  try {
    parsed(json);
    return "accepted";
  } catch (const InputError& error) {
    return error.describe();
  }
}

// The DeepSeek config with one key changed.
std::string refusal_with(const std::string& key, const Json& value) {
  Json json = golden_config("deepseek_v32_tiny");
  json[key] = value;
  return refusal(json);
}

std::string schedule(const ModelConfig& config) {
  std::string text;
  for (bool full : config.native_full) text += full ? 'F' : 'S';
  return text;
}

}  // namespace

TEST_CASE("DeepSeek-V3.2 and GLM are read") {
  const ModelConfig deepseek = read_config(golden("deepseek_v32_tiny"));
  CHECK(deepseek.family == &kDeepseekV32);
  CHECK(deepseek.layers == 6);
  CHECK(deepseek.mtp_layers == 1);
  REQUIRE(deepseek.yarn.has_value());
  CHECK(deepseek.yarn->factor == 4);
  CHECK(deepseek.rope_theta == 10000);
  CHECK(deepseek.index_rope == RopeLayout::half_split);
  CHECK(deepseek.router.groups == 4);
  CHECK(deepseek.moe_layer == std::vector<bool>{false, false, true, true, true, true});
  CHECK(schedule(deepseek) == "FFFFFF");

  const ModelConfig glm = read_config(golden("glm_moe_dsa_shared_tiny"));
  CHECK(glm.family == &kGlmMoeDsa);
  CHECK_FALSE(glm.yarn.has_value());
  CHECK(glm.rope_theta == 8e6);
  CHECK(glm.index_rope == RopeLayout::interleaved);
  CHECK(glm.mla_norm_eps == Approx(1e-5));
  CHECK(schedule(glm) == "FFFSSSFS");
  CHECK(read_config(golden("glm_moe_dsa_tiny"), 1e-6).mla_norm_eps == Approx(1e-6));
}

TEST_CASE("A.X-K2 is read") {
  Json json = golden_config("axk2_tiny");
  const ModelConfig c = parsed(json);
  CHECK(c.family == &kAxk2);
  CHECK(c.norm_gate_rank == 6);
  CHECK(c.q_latent_width() == 64);
  CHECK(c.q_head_rows() == 16 + 8 + 16);
  CHECK(c.router.groups == 1);
  CHECK(c.router.excluded == 0);
  CHECK(c.residual_width() == c.hidden);
  CHECK(schedule(c) == "FFFFFF");
  for (const char* key :
       {"gated_norm_rank", "first_k_dense_replace", "n_shared_experts", "routed_scaling_factor"}) {
    json.erase(key);
  }
  const ModelConfig usual = parsed(json);
  CHECK(usual.norm_gate_rank == 16);
  CHECK(usual.moe_layer == c.moe_layer);
  CHECK(usual.shared_experts == 1);
  CHECK(usual.router.scale == 2.5f);
  json["gated_norm"] = false;
  CHECK_THAT(refusal(json), Contains("gated_norm") && Contains("only true"));
}

TEST_CASE("Hy4 is read") {
  Json json = golden_config("hy_v4_tiny");
  const ModelConfig c = parsed(json);
  CHECK(c.family == &kHyV4);
  REQUIRE(c.streams);
  CHECK(c.streams->count == 4);
  CHECK(c.streams->norm_eps == 1e-5f);
  CHECK(c.streams->eps == 1e-6f);
  CHECK(c.streams->factor_scale == 2);
  CHECK(c.residual_width() == 128);
  CHECK(c.index_norm_eps == 1e-5f);
  CHECK(c.mla_norm_eps == 1e-5f);
  CHECK(c.expert_limit == 1);
  CHECK(c.mla_rope == RopeLayout::half_split);
  CHECK(c.index_rope == RopeLayout::half_split);
  CHECK(c.index_rope_last);
  CHECK(schedule(c) == "FFSSSFS");
  json["rope_interleave"] = json["indexer_rope_interleave"] = true;
  CHECK(parsed(json).mla_rope == RopeLayout::interleaved);
  CHECK(parsed(json).index_rope == RopeLayout::interleaved);
  for (const char* key : {"indexer_types", "mlp_layer_types", "hc_mult", "hc_magnitude", "hc_eps",
                          "swiglu_limit", "n_shared_experts", "routed_scaling_factor"}) {
    json.erase(key);
  }
  json["num_hidden_layers"] = 10;
  const ModelConfig usual = parsed(json);
  CHECK(schedule(usual) == "FFSSSFSSSF");
  CHECK(usual.moe_layer ==
        std::vector<bool>{false, true, true, true, true, true, true, true, true, true});
  CHECK(usual.streams->count == 4);
  CHECK(usual.streams->factor_scale == 2);
  CHECK(usual.expert_limit == 10);
  CHECK(usual.shared_experts == 1);
  CHECK(usual.router.scale == 2.827f);
}

TEST_CASE("parts of Hy4 that a configuration switches off are refused by name") {
  const auto refusal_of = [](const std::string& key, const Json& value) {
    Json json = golden_config("hy_v4_tiny");
    json[key] = value;
    return refusal(json);
  };
  for (const char* key : {"enable_ihc", "gated_mla", "learnable_sink"}) {
    CHECK_THAT(refusal_of(key, false), Contains(key) && Contains("only true"));
    CHECK(refusal_of(key, true) == "accepted");
  }
  CHECK_THAT(refusal_of("gating_type", "headwise"), Contains("only elementwise"));
  for (const double limit : {0.0, -1.0}) {
    CHECK_THAT(refusal_of("swiglu_limit", limit), Contains("swiglu_limit"));
  }
  CHECK_THAT(refusal_of("hc_mult", 0), Contains("hc_mult"));
  Json types = Json::array();
  for (int layer = 0; layer < 7; ++layer) types.push_back("deepseek_sparse_attention");
  CHECK(refusal_of("layer_types", types) == "accepted");
  types[3] = "full_attention";
  CHECK_THAT(refusal_of("layer_types", types), Contains("full_attention"));
  types.erase(0);
  CHECK_THAT(refusal_of("layer_types", types), Contains("7 entries"));
}

TEST_CASE("YaRN's softmax scale is that of the released model") {
  ModelConfig config{};
  config.qk_nope_head_dim = 128;
  config.qk_rope_head_dim = 64;
  config.yarn = Yarn{40, 4096, 32, 1, 1, 1};
  CHECK(config.softmax_scale() == Approx(0.1352338).epsilon(1e-6));
}

TEST_CASE("native sharing is read from types, pattern, or frequency and offset") {
  Json json = golden_config("deepseek_v32_tiny");
  json["index_topk_pattern"] = "FSFSSS";
  CHECK(schedule(parsed(json)) == "FSFSSS");
  json["indexer_types"] = {"full", "full", "shared", "shared", "full", "shared"};
  CHECK(schedule(parsed(json)) == "FFSSFS");
  json.erase("indexer_types");
  json.erase("index_topk_pattern");
  json["index_topk_freq"] = 2;
  CHECK(schedule(parsed(json)) == "FFSFSF");
  json["index_skip_topk_offset"] = 3;
  CHECK(schedule(parsed(json)) == "FFFSFS");
  json["index_topk_freq"] = nullptr;
  CHECK(schedule(parsed(json)) == "FFFFFF");
}

TEST_CASE("sharing keys that are no schedule are a remark, because engines load such models") {
  const auto problem = [](const std::string& key, const Json& value) {
    Json json = golden_config("deepseek_v32_tiny");
    json[key] = value;
    const ModelConfig config = parsed(json);
    CHECK(schedule(config) == "FFFFFF");
    return config.sharing_problem;
  };
  CHECK(problem("index_topk_pattern", "FFFFFF").empty());
  CHECK(problem("indexer_types", {"full"}) == "indexer_types has 1 entries for 6 layers");
  CHECK_THAT(problem("index_topk_pattern", "SFFFFF"), Contains("layer 0 must be full"));
  CHECK_THAT(problem("index_topk_pattern", "FXFFFF"), Contains("of layer 1 is \"X\""));
  CHECK_THAT(problem("index_topk_freq", 0), Contains("index_topk_freq is 0"));
  CHECK_THAT(problem("index_skip_topk_offset", -1), Contains("index_skip_topk_offset -1"));
}

TEST_CASE("newer and older RoPE keys mean the same") {
  Json json = golden_config("deepseek_v32_tiny");
  Json rope = json["rope_scaling"];
  rope["rope_type"] = rope["type"];
  rope.erase("type");
  rope["rope_theta"] = 10000.0;
  json["rope_parameters"] = rope;
  CHECK(parsed(json).yarn == parsed(golden_config("deepseek_v32_tiny")).yarn);
  json.erase("rope_scaling");
  json.erase("rope_theta");
  const ModelConfig config = parsed(json);
  CHECK(config.yarn.has_value());
  CHECK(config.rope_theta == 10000);
  CHECK(config.unread_keys.empty());
}

TEST_CASE("RoPE that is described twice must agree") {
  const Json plain = golden_config("glm_moe_dsa_tiny");
  const auto refusal_of = [&](auto change) {
    Json json = plain;
    change(json);
    return refusal(json);
  };
  CHECK_THAT(refusal_of([](Json& j) { j["rope_theta"] = 10000; }),
             Contains("rope_parameters.rope_theta is 1000000, but rope_theta is 10000"));
  CHECK(refusal_of([](Json& j) { j["rope_theta"] = 1000000; }) == "accepted");
  CHECK(refusal_of([](Json& j) { j["rope_scaling"] = Json::object(); }) == "accepted");
  CHECK_THAT(refusal_of([](Json& j) {
               j["rope_scaling"] = {{"type", "default"}};
             }),
             Contains("rope_parameters has type default with theta 1000000") &&
                 Contains("theta 10000 (the default)"));
  CHECK(refusal_of([](Json& j) {
          j["rope_scaling"] = {{"type", "default"}, {"rope_theta", 1000000}};
        }) == "accepted");
  CHECK_THAT(refusal_of([](Json& j) { j["rope_parameters"]["type"] = "yarn"; }),
             Contains("rope_parameters.rope_type is default, but rope_parameters.type is yarn"));
  CHECK_THAT(refusal_of([](Json& j) { j["rope_parameters"]["full"] = Json::object(); }),
             Contains("differs between layers"));
  CHECK_THAT(refusal_of([](Json& j) { j["rope_interleave"] = false; }), Contains("only true"));
  CHECK_THAT(refusal_of([](Json& j) { j["qk_head_dim"] = 64; }), Contains("must be the sum"));
}

TEST_CASE("attention_factor of YaRN is read, and must agree with mscale") {
  Json json = golden_config("deepseek_v32_tiny");
  json["rope_scaling"]["attention_factor"] = 1.0;  // what mscale 1 and mscale_all_dim 1 give
  CHECK(parsed(json).yarn->attention_factor == 1.0);
  json["rope_scaling"]["attention_factor"] = 1.2;
  CHECK_THAT(refusal(json), Contains("rope_scaling.attention_factor is 1.2, but 1 follows from "
                                     "rope_scaling.mscale"));
  json["rope_scaling"].erase("mscale");
  json["rope_scaling"].erase("mscale_all_dim");
  CHECK(make_rope_table(parsed(json), 1).cosines[0] == Approx(1.2));
  json["rope_scaling"]["truncate"] = false;
  CHECK_THAT(refusal(json), Contains("truncate"));
}

TEST_CASE("keys that might change the forward pass are kept by name, harmless ones are not") {
  for (const std::string& name : kGoldenModels) {
    CHECK(parsed(golden_config(name)).unread_keys.empty());
  }
  Json json = golden_config("deepseek_v32_tiny");
  json["_name_or_path"] = "x";
  json["unk_token_id"] = 5;
  json["sliding_window"] = nullptr;
  json["use_qk_norm"] = false;
  CHECK(parsed(json).unread_keys.empty());
  json["sliding_window"] = 128;
  json["use_qk_norm"] = true;
  json["rope_scaling"]["attn_factor"] = 2;
  CHECK(parsed(json).unread_keys ==
        std::vector<std::string>{"rope_scaling.attn_factor", "sliding_window", "use_qk_norm"});
}

TEST_CASE("other families are refused by name, with the reason") {
  Json json = golden_config("deepseek_v32_tiny");
  const auto named = [&](const std::string& type, const std::string& architecture) {
    json["model_type"] = type;
    json["architectures"] = {architecture};
    return refusal(json);
  };
  CHECK_THAT(named("glm5_next", "Glm5NextForCausalLM"), Contains("linear-attention hybrid"));
  CHECK_THAT(named("mistral_large4", "MistralLarge4ForConditionalGeneration"),
             Contains("MistralLarge4ForConditionalGeneration is not supported") &&
                 Contains("reads keys of other layers"));
  for (const char* key : {"index_topk", "index_n_heads", "index_head_dim"}) json.erase(key);
  CHECK_THAT(named("deepseek_v3", "DeepseekV3ForCausalLM"), Contains("uses dense attention"));
  CHECK_THAT(named("llama", "LlamaForCausalLM"), Contains("no lightning indexer"));
}

TEST_CASE("all that a config says about its family decides") {
  Json json = golden_config("deepseek_v32_tiny");
  const auto change = [&](const char* key, const Json& value) {
    Json changed = json;
    value.is_null() ? static_cast<void>(changed.erase(key)) : void(changed[key] = value);
    return changed;
  };
  const ModelConfig typed = parsed(change("architectures", nullptr));
  CHECK(typed.family == &kDeepseekV32);
  CHECK(parsed(change("architectures", Json::array())).family == &kDeepseekV32);
  CHECK(parsed(change("architectures", "DeepseekV32ForCausalLM")).remarks.empty());
  CHECK(parsed(change("architectures", {"DeepseekV32Model"})).family == &kDeepseekV32);
  CHECK(parsed(change("model_type", nullptr)).remarks.empty());
  const ModelConfig edited = parsed(change("model_type", "deepseek_v3"));
  REQUIRE(edited.remarks.size() == 1);
  CHECK_THAT(edited.remarks[0], Contains("model_type is deepseek_v3"));
  CHECK_THAT(refusal(change("architectures", {"DeepseekV3ForCausalLM"})),
             Contains("contradicts itself") && Contains("model_type is deepseek_v32") &&
                 Contains("index_topk 16"));
  CHECK_THAT(refusal(change("architectures", {"GlmMoeDsaForCausalLM"})),
             Contains("contradicts itself") && Contains("\"glm_moe_dsa\""));
  json.erase("model_type");
  CHECK_THAT(refusal(change("architectures", nullptr)),
             Contains("does not say which model family") && Contains("GlmMoeDsaForCausalLM"));
  CHECK_THAT(refusal(change("architectures", 5)), Contains("a list of names"));
  CHECK_THAT(refusal(change("architectures", {std::string(500, 'x')})),
             Contains("xxx...") && !Contains(std::string(100, 'x')));
}

TEST_CASE(
    "values that are missing, of the wrong type, out of range or unsupported name their key") {
  CHECK(refusal_with("bos_token_id", 5) == "accepted");
  CHECK_THAT(refusal_with("hidden_size", nullptr), Contains("hidden_size") && Contains("missing"));
  CHECK_THAT(refusal_with("hidden_size", -4), Contains("-4 is not between"));
  CHECK_THAT(refusal_with("hidden_size", "64"), Contains("expected an integer"));
  CHECK_THAT(refusal_with("num_hidden_layers", 0), Contains("num_hidden_layers"));
  CHECK_THAT(refusal_with("num_hidden_layers", 1e9), Contains("num_hidden_layers"));
  CHECK_THAT(refusal_with("rms_norm_eps", 0), Contains("rms_norm_eps"));
  CHECK_THAT(refusal_with("qk_rope_head_dim", 7), Contains("even"));
  CHECK_THAT(refusal_with("qk_rope_head_dim", 64), Contains("index_head_dim"));
  CHECK_THAT(refusal_with("num_key_value_heads", 2), Contains("num_key_value_heads"));
  CHECK_THAT(refusal_with("scoring_func", "softmax"), Contains("only sigmoid"));
  CHECK_THAT(refusal_with("topk_method", "greedy"), Contains("only noaux_tc"));
  CHECK(refusal_with("moe_router_dtype", "float32") == "accepted");  // GLM-5.3 states it
  CHECK_THAT(refusal_with("moe_router_dtype", "bfloat16"), Contains("only float32"));
  CHECK_THAT(refusal_with("tie_word_embeddings", true), Contains("only false"));
  CHECK_THAT(refusal_with("num_experts_per_tok", 9), Contains("more experts than the kept groups"));
  CHECK_THAT(refusal_with("n_group", 3), Contains("evenly"));
  CHECK_THAT(refusal_with("indexer_types", 5), Contains("expected a list or a string"));
  CHECK_THAT(refusal_with("indexer_types", {"full", 5}),
             Contains("entries must be strings, found 5"));
  CHECK_THAT(refusal_with("index_topk_freq", "4"), Contains("expected an integer"));
  CHECK_THAT(refusal_with("rope_scaling", {{"type", "linear"}}), Contains("linear\" is not"));
  CHECK_THAT(refusal(Json::array()), Contains("not a JSON object"));
}
