// SPDX-License-Identifier: Apache-2.0
#include "core/frequency.h"
#include "model/config_reader.h"
#include "model/families/dsa.h"
#include "model/rope_config.h"
#include "model/weight_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace indexcache {
namespace {

constexpr std::int64_t kLarge = 1 << 24;
void require(const ConfigReader& reader, bool holds, const std::string& key,
             const std::string& why) {
  reader.require(holds, key, why);
}

// Options that would change the forward pass and that no released model of these families uses.
void refuse_variants(const ConfigReader& r) {
  require(r, r.text_or("scoring_func", "sigmoid") == "sigmoid", "scoring_func",
          "only sigmoid is supported");
  require(r, r.text_or("topk_method", "noaux_tc") == "noaux_tc", "topk_method",
          "only noaux_tc is supported");
  require(r, r.text_or("hidden_act", "silu") == "silu", "hidden_act", "only silu is supported");
  require(r, r.integer_or("moe_layer_freq", 1, kLarge, 1) == 1, "moe_layer_freq",
          "only 1 is supported");
  refuse_biases(r);
  require(r, r.text_or("moe_router_dtype", "float32") == "float32", "moe_router_dtype",
          "only float32 is supported");
}

void read_moe_layers(const ConfigReader& r, const DsaDefaults& defaults, ModelConfig& config) {
  const auto layers = static_cast<std::size_t>(config.layers);
  const auto dense = r.integer_or("first_k_dense_replace", 0, config.layers,
                                  std::min(defaults.dense_layers, config.layers));
  config.moe_layer.assign(layers, true);
  for (std::int64_t layer = 0; layer < dense; ++layer) {
    config.moe_layer[static_cast<std::size_t>(layer)] = false;
  }
  if (!r.has("mlp_layer_types")) return;  // the list wins where it is present
  const Json& types = r.at("mlp_layer_types");
  require(r, types.is_array() && types.size() == layers, "mlp_layer_types",
          fmt::format("expected a list of {} entries", layers));
  for (std::size_t layer = 0; layer < layers; ++layer) {
    const bool sparse = types[layer] == "sparse";
    require(r, sparse || types[layer] == "dense", "mlp_layer_types",
            "entries must be \"dense\" or \"sparse\"");
    config.moe_layer[layer] = sparse;
  }
}

// Kinds of attention by layer, as transformers and engines write them.
void check_layer_types(const ConfigReader& r, const ModelConfig& config) {
  if (!r.has("layer_types")) return;
  const Json& types = r.at("layer_types");
  require(r, types.is_array() && types.size() == static_cast<std::size_t>(config.layers),
          "layer_types", fmt::format("expected a list of {} entries", config.layers));
  constexpr std::array kSparse = {"indexed_attention", "deepseek_sparse_attention",
                                  "sparse_attention", "sparse"};
  for (const Json& type : types) {
    const bool sparse =
        std::ranges::any_of(kSparse, [&](const char* name) { return type == name; });
    require(r, sparse, "layer_types",
            described(type) + " is not supported: every layer needs sparse attention");
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
  require(r, value.is_array(), key, "expected a list or a string");
  for (const Json& entry : value) {
    require(r, entry.is_string(), key, "entries must be strings, found " + described(entry));
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
    return fmt::format("{} of layer {} is \"{}\": expected full/F or shared/S", key, layer, entry);
  }
  const bool shared = entries[0] == "shared" || entries[0] == "S";
  return shared ? fmt::format("{}: layer 0 must be full", key) : "";
}

// indexer_types, else index_topk_pattern, else index_topk_freq with index_skip_topk_offset. Values
// that are no schedule become config.sharing_problem: engines load such models (serving/), and
// which layers own an indexer is decided from the tensors. Only wrong types are refused.
void read_native_schedule(const ConfigReader& r, const DsaDefaults& defaults, ModelConfig& config) {
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
  const auto freq = r.integer_or("index_topk_freq", -kLargest, kLargest, defaults.sharing_period);
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

void read_router(const ConfigReader& r, const DsaDefaults& defaults, ModelConfig& config) {
  config.routed_experts = r.integer("n_routed_experts", 1, kLarge);
  config.shared_experts = r.integer_or("n_shared_experts", 0, 64, defaults.shared_experts);
  RouterRule& rule = config.router;
  rule.groups = r.integer_or("n_group", 1, config.routed_experts, 1);
  rule.kept_groups = r.integer_or("topk_group", 1, rule.groups, rule.groups);
  rule.experts_used = r.integer("num_experts_per_tok", 1, config.routed_experts);
  rule.normalize = r.flag_or("norm_topk_prob", true);
  rule.scale = static_cast<float>(r.positive_or("routed_scaling_factor", defaults.routed_scaling));
  require(r, config.routed_experts % rule.groups == 0, "n_group",
          "the experts do not divide evenly into the groups");
  const std::int64_t group_size = config.routed_experts / rule.groups;
  require(r, rule.groups == 1 || group_size >= 2, "n_group", "a group needs at least two experts");
  require(r, rule.experts_used <= rule.kept_groups * group_size, "num_experts_per_tok",
          "more experts than the kept groups contain");
}

}  // namespace

void refuse_biases(const ConfigReader& r) {
  for (const char* key : {"tie_word_embeddings", "attention_bias", "mlp_bias"}) {
    require(r, !r.flag_or(key, false), key, "only false is supported");
  }
}

void read_block_fp8(const ConfigReader& r, ModelConfig& config) {
  if (!r.has("quantization_config")) return;
  config.unread_format = unread_quantization(r.at("quantization_config"));
  if (!config.unread_format.empty()) return;
  const ConfigReader q = r.object("quantization_config");
  if (!q.has("weight_block_size")) return;
  const Json& block = q.at("weight_block_size");
  require(q,
          block.is_array() && block.size() == 2 && block[0].is_number_unsigned() &&
              block[1].is_number_unsigned() && block[0] > 0 && block[1] > 0 && block[0] <= kLarge &&
              block[1] <= kLarge,
          "weight_block_size", fmt::format("expected two integers from 1 to {}", kLarge));
  config.fp8_block_rows = block[0].get<std::int64_t>();
  config.fp8_block_cols = block[1].get<std::int64_t>();
}

namespace {

void read_attention(const ConfigReader& r, const DsaDefaults& defaults, ModelConfig& config) {
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
  require(r,
          r.integer_or("qk_head_dim", 1, 2 * kLarge, config.qk_head_dim()) == config.qk_head_dim(),
          "qk_head_dim", "it must be the sum of qk_nope_head_dim and qk_rope_head_dim");
  require(r, config.qk_rope_head_dim % 2 == 0, "qk_rope_head_dim", "it must be even");
  require(r, config.qk_rope_head_dim <= config.index_head_dim, "index_head_dim",
          "it must be at least qk_rope_head_dim");
  const auto layout = [&](const char* key, RopeLayout usual) {
    return r.flag_or(key, usual == RopeLayout::interleaved) ? RopeLayout::interleaved
                                                            : RopeLayout::half_split;
  };
  config.mla_rope = layout("rope_interleave", defaults.mla_rope);
  require(r,
          config.mla_rope == RopeLayout::interleaved || defaults.mla_rope == RopeLayout::half_split,
          "rope_interleave", "only true is supported");
  config.index_rope = layout("indexer_rope_interleave", defaults.index_rope);
  config.index_norm_eps = defaults.index_norm_eps;
}

}  // namespace

void read_dsa_config(const ConfigReader& r, const DsaDefaults& defaults, ModelConfig& config) {
  refuse_variants(r);
  config.vocabulary = r.integer("vocab_size", 1, kLarge);
  config.hidden = r.integer("hidden_size", 1, kLarge);
  config.layers = r.integer("num_hidden_layers", 1, 4096);
  config.mtp_layers = r.integer_or("num_nextn_predict_layers", 0, 64, 0);
  config.intermediate = r.integer("intermediate_size", 1, kLarge);
  config.moe_intermediate = r.integer("moe_intermediate_size", 1, kLarge);
  config.max_positions = r.integer("max_position_embeddings", 1, 1 << 30);
  config.rms_norm_eps = static_cast<float>(r.positive("rms_norm_eps"));
  // Serving engines use rms_norm_eps for the latent norms, too (docs/numerics.md).
  config.mla_norm_eps =
      static_cast<float>(r.positive_or("mla_norm_eps", r.positive("rms_norm_eps")));
  read_attention(r, defaults, config);
  read_router(r, defaults, config);
  read_rope(r, config);
  read_moe_layers(r, defaults, config);
  check_layer_types(r, config);
  read_native_schedule(r, defaults, config);
  read_block_fp8(r, config);
}

}  // namespace indexcache
