// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include "core/error.h"
#include "core/frequency.h"
#include "io/files.h"
#include "io/json.h"

#include <fmt/format.h>

#include <cmath>
#include <map>

namespace indexcache {
namespace {

constexpr std::int64_t kLarge = 1 << 24;
constexpr const char* kSupported =
    "DeepSeek-V3.2 (DeepseekV32ForCausalLM) and GLM-5 (GlmMoeDsaForCausalLM) are supported";

// Families people will try, and why they are not served.
const std::map<std::string, std::string>& refusals() {
  static const std::map<std::string, std::string> reasons = {
      {"deepseek_v4", "DeepSeek-V4 compresses keys before its indexer: another architecture"},
      {"glm5_next",
       "GLM-5.3-Flash is a linear-attention hybrid with a pooled indexer: another "
       "architecture"},
      {"deepseek_v3", "DeepSeek-V3 attends densely: it has no lightning indexer to share"},
      {"deepseek_v2", "DeepSeek-V2 attends densely: it has no lightning indexer to share"},
      {"glm4_moe", "GLM-4.x attends densely: it has no lightning indexer to share"},
  };
  return reasons;
}

// Typed access to one JSON object; every failure names file and key.
class ConfigReader {
 public:
  ConfigReader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  [[noreturn]] void fail(const std::string& key, const std::string& why) const {
    throw InputError({"config.json cannot be used", where_ + ": " + key, why,
                      "check that this is the config.json published with the checkpoint"});
  }

  // null counts as absent: published configs write "index_topk_freq": null.
  bool has(const std::string& key) const { return json_.contains(key) && !json_[key].is_null(); }
  const Json& at(const std::string& key) const { return json_[key]; }

  std::int64_t integer(const std::string& key, std::int64_t low, std::int64_t high) const {
    if (!has(key)) fail(key, "the key is missing");
    const Json& value = at(key);
    if (!value.is_number_integer()) fail(key, "an integer is needed, found " + described(value));
    const auto number = value.get<std::int64_t>();
    if (number < low || number > high) {
      fail(key, fmt::format("{} is outside {} … {}", described(value), low, high));
    }
    return number;
  }
  std::int64_t integer_or(const std::string& key, std::int64_t low, std::int64_t high,
                          std::int64_t fallback) const {
    return has(key) ? integer(key, low, high) : fallback;
  }

  // In (0, 1e12].
  double positive(const std::string& key) const {
    if (!has(key)) fail(key, "the key is missing");
    if (!at(key).is_number()) fail(key, "a number is needed, found " + described(at(key)));
    const auto number = at(key).get<double>();
    if (!(number > 0) || number > 1e12) fail(key, described(at(key)) + " is not in (0, 1e12]");
    return number;
  }
  double positive_or(const std::string& key, double fallback) const {
    return has(key) ? positive(key) : fallback;
  }

  bool flag_or(const std::string& key, bool fallback) const {
    if (!has(key)) return fallback;
    if (!at(key).is_boolean()) fail(key, "true or false is needed, found " + described(at(key)));
    return at(key).get<bool>();
  }

  std::string text_or(const std::string& key, const std::string& fallback) const {
    if (!has(key)) return fallback;
    if (!at(key).is_string()) fail(key, "a string is needed, found " + described(at(key)));
    return at(key).get<std::string>();
  }

  ConfigReader object(const std::string& key) const {
    if (!at(key).is_object()) fail(key, "an object is needed");
    return {at(key), where_ + ": " + key};
  }

 private:
  const Json& json_;
  std::string where_;
};

Family family_of(const ConfigReader& reader, std::string& architecture) {
  const std::string type = reader.text_or("model_type", "");
  if (reader.has("architectures") && reader.at("architectures").is_array() &&
      !reader.at("architectures").empty() && reader.at("architectures")[0].is_string()) {
    architecture = reader.at("architectures")[0].get<std::string>();
  }
  if (architecture == "DeepseekV32ForCausalLM") return Family::deepseek_v32;
  if (architecture == "GlmMoeDsaForCausalLM") return Family::glm_moe_dsa;
  const std::string name = architecture.empty() ? type : architecture;
  const auto known = refusals().find(type);
  const std::string why =
      known != refusals().end() ? known->second
      : reader.has("index_topk")
          ? "it has an indexer, but its forward pass is not one that this tool implements"
          : "its config has no index_topk: it has no lightning indexer to share";
  throw InputError(
      {fmt::format("the model family {} is not supported", name.empty() ? "(none given)" : name),
       "config.json: architectures", why, kSupported});
}

void require(const ConfigReader& reader, bool holds, const std::string& key,
             const std::string& why) {
  if (!holds) reader.fail(key, why);
}

// Options that would change the forward pass and that no released model of the two families uses.
void refuse_variants(const ConfigReader& r) {
  require(r, r.text_or("scoring_func", "sigmoid") == "sigmoid", "scoring_func",
          "only sigmoid is supported");
  require(r, r.text_or("topk_method", "noaux_tc") == "noaux_tc", "topk_method",
          "only noaux_tc is supported");
  require(r, r.text_or("hidden_act", "silu") == "silu", "hidden_act", "only silu is supported");
  require(r, r.integer_or("moe_layer_freq", 1, kLarge, 1) == 1, "moe_layer_freq",
          "only 1 is supported");
  for (const char* key : {"tie_word_embeddings", "attention_bias", "mlp_bias"}) {
    require(r, !r.flag_or(key, false), key, "only false is supported");
  }
}

void read_rope(const ConfigReader& r, ModelConfig& config) {
  const bool newer = r.has("rope_parameters");
  const bool older = r.has("rope_scaling");
  const ConfigReader rope = newer   ? r.object("rope_parameters")
                            : older ? r.object("rope_scaling")
                                    : r;
  config.rope_theta =
      newer && rope.has("rope_theta") ? rope.positive("rope_theta") : r.positive("rope_theta");
  if (!newer && !older) return;
  const std::string type = rope.text_or("rope_type", rope.text_or("type", "default"));
  if (type == "default") return;
  if (type != "yarn") rope.fail("rope_type", type + " is not supported: default and yarn are");
  config.yarn = Yarn{
      .factor = rope.positive("factor"),
      .original_positions = rope.positive("original_max_position_embeddings"),
      .beta_fast = rope.positive_or("beta_fast", 32),
      .beta_slow = rope.positive_or("beta_slow", 1),
      .mscale = rope.positive_or("mscale", 1),
      .mscale_all_dim = rope.positive_or("mscale_all_dim", 0),
  };
}

void read_moe_layers(const ConfigReader& r, ModelConfig& config) {
  const auto layers = static_cast<std::size_t>(config.layers);
  const auto dense = r.integer_or("first_k_dense_replace", 0, config.layers, 0);
  config.moe_layer.assign(layers, true);
  for (std::int64_t layer = 0; layer < dense; ++layer) {
    config.moe_layer[static_cast<std::size_t>(layer)] = false;
  }
  if (!r.has("mlp_layer_types")) return;  // the list wins where it is present
  const Json& types = r.at("mlp_layer_types");
  require(r, types.is_array() && types.size() == layers, "mlp_layer_types",
          fmt::format("a list of {} entries is needed", layers));
  for (std::size_t layer = 0; layer < layers; ++layer) {
    const bool sparse = types[layer] == "sparse";
    require(r, sparse || types[layer] == "dense", "mlp_layer_types",
            "entries are \"dense\" or \"sparse\"");
    config.moe_layer[layer] = sparse;
  }
}

// Entries of indexer_types or of a pattern, one per layer: a list of strings, or the letters of
// one.
std::vector<std::string> schedule_entries(const ConfigReader& r, const std::string& key) {
  const Json& value = r.at(key);
  std::vector<std::string> entries;
  if (value.is_string()) {
    for (const char letter : value.get_ref<const std::string&>()) entries.emplace_back(1, letter);
    return entries;
  }
  require(r, value.is_array(), key, "a list or a string is needed");
  for (const Json& entry : value) {
    require(r, entry.is_string(), key, "entries are strings, found " + described(entry));
    entries.push_back(entry.get<std::string>());
  }
  return entries;
}

// Why `entries` are no schedule of `layers` layers; empty if they are one.
std::string schedule_problem(const std::vector<std::string>& entries, std::size_t layers,
                             const std::string& key) {
  if (entries.size() != layers) {
    return fmt::format("{} has {} entries for {} layers", key, entries.size(), layers);
  }
  for (std::size_t layer = 0; layer < layers; ++layer) {
    const std::string& entry = entries[layer];
    if (entry == "full" || entry == "F" || entry == "shared" || entry == "S") continue;
    return fmt::format("{} of layer {} is \"{}\": full/F and shared/S are known", key, layer,
                       entry);
  }
  const bool shared = entries[0] == "shared" || entries[0] == "S";
  return shared ? fmt::format("{}: layer 0 must be full", key) : "";
}

// indexer_types, else index_topk_pattern, else index_topk_freq with index_skip_topk_offset. Values
// that are no schedule become config.sharing_problem: engines load such models (serving/), and
// which layers own an indexer is decided from the tensors. Only wrong types are refused.
void read_native_schedule(const ConfigReader& r, ModelConfig& config) {
  const auto layers = static_cast<std::size_t>(config.layers);
  config.native_full.assign(layers, true);
  for (const char* key : {"indexer_types", "index_topk_pattern"}) {
    if (!r.has(key)) continue;
    const std::vector<std::string> entries = schedule_entries(r, key);
    config.sharing_problem = schedule_problem(entries, layers, key);
    if (!config.sharing_problem.empty()) return;
    for (std::size_t layer = 0; layer < layers; ++layer) {
      config.native_full[layer] = entries[layer] == "full" || entries[layer] == "F";
    }
    return;
  }
  constexpr std::int64_t kLargest = 999'999'999;  // as serving/config_reading.cpp
  const auto freq = r.integer_or("index_topk_freq", -kLargest, kLargest, 1);
  const auto offset = r.integer_or("index_skip_topk_offset", -kLargest, kLargest, 2);
  if (freq < 1 || offset < 1) {
    config.sharing_problem =
        fmt::format("index_topk_freq is {} and index_skip_topk_offset {}: both must be at least 1",
                    freq, offset);
    return;
  }
  const std::string schedule = frequency_schedule(FrequencyRule::b, layers, freq, offset);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    config.native_full[layer] = schedule[layer] == 'F';
  }
}

void read_router(const ConfigReader& r, ModelConfig& config) {
  config.routed_experts = r.integer("n_routed_experts", 1, kLarge);
  config.shared_experts = r.integer_or("n_shared_experts", 0, 64, 0);
  RouterRule& rule = config.router;
  rule.groups = r.integer_or("n_group", 1, config.routed_experts, 1);
  rule.kept_groups = r.integer_or("topk_group", 1, rule.groups, rule.groups);
  rule.experts_used = r.integer("num_experts_per_tok", 1, config.routed_experts);
  rule.normalize = r.flag_or("norm_topk_prob", true);
  rule.scale = static_cast<float>(r.positive_or("routed_scaling_factor", 1.0));
  require(r, config.routed_experts % rule.groups == 0, "n_group",
          "the experts do not divide evenly into the groups");
  const std::int64_t group_size = config.routed_experts / rule.groups;
  require(r, rule.groups == 1 || group_size >= 2, "n_group", "a group needs two experts or more");
  require(r, rule.experts_used <= rule.kept_groups * group_size, "num_experts_per_tok",
          "more experts than the kept groups hold");
}

void read_fp8(const ConfigReader& r, ModelConfig& config) {
  if (!r.has("quantization_config")) return;
  const ConfigReader q = r.object("quantization_config");
  const std::string method = q.text_or("quant_method", "fp8");
  require(q, method == "fp8", "quant_method", method + " is not supported: fp8 (block-wise) is");
  if (!q.has("weight_block_size")) return;
  const Json& block = q.at("weight_block_size");
  require(q,
          block.is_array() && block.size() == 2 && block[0].is_number_unsigned() &&
              block[1].is_number_unsigned() && block[0] > 0 && block[1] > 0 && block[0] <= kLarge &&
              block[1] <= kLarge,
          "weight_block_size", fmt::format("two integers from 1 to {} are needed", kLarge));
  config.fp8_block_rows = block[0].get<std::int64_t>();
  config.fp8_block_cols = block[1].get<std::int64_t>();
}

void read_attention(const ConfigReader& r, ModelConfig& config) {
  config.heads = r.integer("num_attention_heads", 1, 4096);
  require(r, r.integer_or("num_key_value_heads", 1, 4096, config.heads) == config.heads,
          "num_key_value_heads", "it must equal num_attention_heads");
  config.q_lora_rank = r.integer("q_lora_rank", 1, kLarge);
  config.kv_lora_rank = r.integer("kv_lora_rank", 1, kLarge);
  config.qk_nope_head_dim = r.integer("qk_nope_head_dim", 1, kLarge);
  config.qk_rope_head_dim = r.integer("qk_rope_head_dim", 2, kLarge);
  config.v_head_dim = r.integer("v_head_dim", 1, kLarge);
  config.index_heads = r.integer("index_n_heads", 1, 4096);
  config.index_head_dim = r.integer("index_head_dim", 2, kLarge);
  config.index_topk = r.integer("index_topk", 1, kLarge);
  require(r, config.qk_rope_head_dim % 2 == 0, "qk_rope_head_dim", "it must be even");
  require(r, config.qk_rope_head_dim <= config.index_head_dim, "index_head_dim",
          "it must be at least qk_rope_head_dim");
  const bool interleaved =
      r.flag_or("indexer_rope_interleave", config.family == Family::glm_moe_dsa);
  config.index_rope = interleaved ? RopeLayout::interleaved : RopeLayout::half_split;
}

}  // namespace

double yarn_mscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

ModelShape ModelConfig::shape() const {
  return {.layers = layers,
          .vocabulary = vocabulary,
          .hidden = hidden,
          .heads = heads,
          .latent_width = latent_width(),
          .kv_lora_rank = kv_lora_rank,
          .index_heads = index_heads,
          .index_head_dim = index_head_dim,
          .index_topk = index_topk,
          .intermediate = intermediate,
          .moe_intermediate = moe_intermediate,
          .routed_experts = routed_experts,
          .experts_used = router.experts_used,
          .expert_groups = router.groups};
}

float ModelConfig::softmax_scale() const {
  const double factor = yarn ? yarn_mscale(yarn->factor, yarn->mscale_all_dim) : 1.0;
  return static_cast<float>(factor * factor / std::sqrt(static_cast<double>(qk_head_dim())));
}

ModelConfig read_config(const std::filesystem::path& folder, std::optional<double> mla_norm_eps) {
  const std::filesystem::path path = folder / "config.json";
  if (!std::filesystem::exists(path)) {
    throw InputError({"the model folder has no config.json", folder.string(),
                      "a Hugging Face folder with config.json and safetensors files is needed",
                      "check the path"});
  }
  return parse_config(parse_foreign_json(read_file(path), path.string()), path.string(),
                      mla_norm_eps);
}

ModelConfig parse_config(const Json& json, const std::string& where,
                         std::optional<double> mla_norm_eps) {
  const ConfigReader r(json, where);
  if (!json.is_object()) r.fail("", "it is not a JSON object");
  ModelConfig config{};
  config.family = family_of(r, config.architecture);
  refuse_variants(r);
  config.vocabulary = r.integer("vocab_size", 1, kLarge);
  config.hidden = r.integer("hidden_size", 1, kLarge);
  config.layers = r.integer("num_hidden_layers", 1, 4096);
  config.mtp_layers = r.integer_or("num_nextn_predict_layers", 0, 64, 0);
  config.intermediate = r.integer("intermediate_size", 1, kLarge);
  config.moe_intermediate = r.integer("moe_intermediate_size", 1, kLarge);
  config.max_positions = r.integer("max_position_embeddings", 1, 1 << 30);
  config.rms_norm_eps = static_cast<float>(r.positive("rms_norm_eps"));
  // Serving engines use rms_norm_eps for the latent norms too (docs/numerics.md).
  config.mla_norm_eps = static_cast<float>(
      mla_norm_eps.value_or(r.positive_or("mla_norm_eps", r.positive("rms_norm_eps"))));
  read_attention(r, config);
  read_router(r, config);
  read_rope(r, config);
  read_moe_layers(r, config);
  read_native_schedule(r, config);
  read_fp8(r, config);
  return config;
}

}  // namespace indexcache
