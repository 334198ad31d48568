// SPDX-License-Identifier: Apache-2.0
#include "core/quote.h"
#include "model/config_reader.h"
#include "model/families/deepseek_v4.h"
#include "model/families/dsa.h"
#include "model/families/stream_weights.h"
#include "model/rope_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace indexcache {
namespace {

constexpr std::int64_t kMostOfAny = 1 << 24;
constexpr std::int64_t kMostRounds = 1000;
constexpr std::int64_t kMostRatio = 1 << 16;

// Options that would change the forward pass and that no released model uses. Weights of experts
// are normalized whatever norm_topk_prob says, here as in the programs that run the model.
void refuse_other_variants(const ConfigReader& r) {
  refuse_biases(r);
  r.require(r.integer_or("num_key_value_heads", 1, 4096, 1) == 1, "num_key_value_heads",
            "only 1 is supported");
  r.require(r.text_or("scoring_func", "sqrtsoftplus") == "sqrtsoftplus", "scoring_func",
            "only sqrtsoftplus is supported");
  r.require(r.text_or("topk_method", "noaux_tc") == "noaux_tc", "topk_method",
            "only noaux_tc is supported");
  r.require(r.text_or("hidden_act", "silu") == "silu", "hidden_act", "only silu is supported");
  // Keys of other architectures, which programs add to a config.json that they save.
  for (const char* key :
       {"norm_topk_prob", "intermediate_size", "n_group", "topk_group", "first_k_dense_replace",
        "kv_lora_rank", "v_head_dim", "qk_nope_head_dim"}) {
    r.has(key);
  }
}

// Positions of an entry of a layer, by the name of its kind; 1: it has no entries.
std::int64_t ratio_of_type(const ConfigReader& r, const Json& type) {
  constexpr std::int64_t kUsualHeavy = 128;
  const auto rate = [&](const char* name, std::int64_t usual) {
    if (!r.has("compress_rates")) return usual;
    return r.object("compress_rates").integer_or(name, 2, kMostRatio, usual);
  };
  if (type == "sliding_attention") return 1;
  if (type == "compressed_sparse_attention") {
    const std::int64_t ratio =
        rate("compressed_sparse_attention", CompressedAttention::kSelectedRatio);
    r.require(ratio == CompressedAttention::kSelectedRatio, "compress_rates",
              fmt::format("compressed_sparse_attention is {}; only {} is supported", ratio,
                          CompressedAttention::kSelectedRatio));
    return ratio;
  }
  r.require(type == "heavily_compressed_attention", "layer_types",
            described(type) + " is not supported");
  const std::int64_t ratio = rate("heavily_compressed_attention", kUsualHeavy);
  r.require(ratio != CompressedAttention::kSelectedRatio, "compress_rates",
            fmt::format("heavily_compressed_attention is {}, at which entries overlap", ratio));
  return ratio;
}

// The released list may go on with layers of MTP. 0 and 1 are the same.
std::vector<std::int64_t> stated_ratios(const ConfigReader& r, std::size_t layers) {
  const Json& list = r.at("compress_ratios");
  r.require(list.is_array() && list.size() >= layers, "compress_ratios",
            fmt::format("expected a list of at least {} integers", layers));
  std::vector<std::int64_t> ratios;
  for (std::size_t layer = 0; layer < layers; ++layer) {
    const Json& ratio = list[layer];
    r.require(ratio.is_number_integer() && ratio >= 0 && ratio <= kMostRatio, "compress_ratios",
              fmt::format("that of layer {} is {}, not an integer from 0 to {}", layer,
                          described(ratio), kMostRatio));
    ratios.push_back(std::max<std::int64_t>(ratio.get<std::int64_t>(), 1));
  }
  return ratios;
}

std::vector<std::int64_t> read_ratios(const ConfigReader& r, std::int64_t count) {
  const auto layers = static_cast<std::size_t>(count);
  std::vector<std::int64_t> stated, typed;
  if (r.has("compress_ratios")) stated = stated_ratios(r, layers);
  if (r.has("layer_types")) {
    const Json& types = r.at("layer_types");
    r.require(types.is_array() && types.size() == layers, "layer_types",
              fmt::format("expected a list of {} entries", layers));
    for (const Json& type : types) typed.push_back(ratio_of_type(r, type));
  }
  r.require(!stated.empty() || !typed.empty(), "compress_ratios",
            "the key is missing, and so is layer_types: which layers compress keys is not known");
  const bool agree = stated.empty() || typed.empty() || stated == typed;
  r.require(agree, "compress_ratios", "it contradicts layer_types and compress_rates");
  const std::vector<std::int64_t>& ratios = stated.empty() ? typed : stated;
  r.require(std::ranges::count(ratios, CompressedAttention::kSelectedRatio) > 0, "compress_ratios",
            fmt::format("no layer has ratio {}: the model has no indexer",
                        CompressedAttention::kSelectedRatio));
  return ratios;
}

// How many layers come first whose experts a table chooses.
std::int64_t read_hash_layers(const ConfigReader& r, std::int64_t layers) {
  const std::int64_t count = r.integer_or("num_hash_layers", 0, layers, 0);
  if (!r.has("mlp_layer_types")) return count;
  const Json& types = r.at("mlp_layer_types");
  r.require(types.is_array() && types.size() == static_cast<std::size_t>(layers), "mlp_layer_types",
            fmt::format("expected a list of {} entries", layers));
  std::int64_t typed = 0;
  for (std::size_t layer = 0; layer < types.size(); ++layer) {
    const bool hash = types[layer] == "hash_moe";
    r.require(hash || types[layer] == "moe", "mlp_layer_types",
              described(types[layer]) + " is not supported: hash_moe and moe are");
    r.require(!hash || typed == static_cast<std::int64_t>(layer), "mlp_layer_types",
              "hash_moe is supported only in the first layers");
    typed += hash ? 1 : 0;
  }
  r.require(!r.has("num_hash_layers") || count == typed, "mlp_layer_types",
            fmt::format("{} of them are hash_moe, but num_hash_layers is {}", typed, count));
  return typed;
}

void keep_unread(const RopeObject& rope, const std::string& before, ModelConfig& model) {
  for (const std::string& key : rope.unread) {
    if (!key.ends_with(".partial_rotary_factor")) model.unread_keys.push_back(before + key);
  }
}

// One table for layers without entries and one for the others, which only there is YaRN's; its
// attention factor is 1 whatever other models derive from its factor.
void read_rope_tables(const ConfigReader& r, ModelConfig& model) {
  CompressedAttention& compressed = *model.compressed;
  if (r.has("rope_parameters")) {
    const ConfigReader both = r.object("rope_parameters");
    for (const char* key : {"main", "compress"}) {
      both.require(both.has(key), key, "the key is missing");
    }
    const RopeObject plain = read_rope_object(both, "main"),
                     entries = read_rope_object(both, "compress");
    both.require(plain.theta && entries.theta, "main", "rope_theta is missing");
    both.require(!plain.yarn, "main", "only the type default is supported");
    model.rope_theta = *plain.theta;
    compressed.rope_theta = *entries.theta;
    compressed.yarn = entries.yarn;
    keep_unread(plain, "rope_parameters.", model);
    keep_unread(entries, "rope_parameters.", model);
    for (const char* key : {"rope_theta", "compress_rope_theta", "rope_scaling"}) r.has(key);
  } else {
    model.rope_theta = r.positive("rope_theta");
    compressed.rope_theta = r.positive("compress_rope_theta");
    if (r.has("rope_scaling")) {
      const RopeObject scaling = read_rope_object(r, "rope_scaling");
      compressed.yarn = scaling.yarn;
      keep_unread(scaling, "", model);
    }
  }
  if (!compressed.yarn) return;
  r.require(compressed.yarn->attention_factor.value_or(1) == 1, "rope_scaling",
            "only an attention_factor of 1 is supported");
  compressed.yarn->attention_factor = 1;
}

// Of a head's numbers, which all rotate in its last `qk_rope_head_dim`.
std::int64_t read_rotated(const ConfigReader& r, std::int64_t head_dim) {
  if (r.has("qk_rope_head_dim")) return r.integer("qk_rope_head_dim", 2, head_dim);
  const double share = r.positive("partial_rotary_factor");
  const double width = share * static_cast<double>(head_dim);
  r.require(share <= 1 && std::abs(width - std::round(width)) < 1e-6 && std::round(width) >= 2,
            "partial_rotary_factor", fmt::format("{} of head_dim {} is no width", share, head_dim));
  return static_cast<std::int64_t>(std::round(width));
}

void read_compressed_attention(const ConfigReader& r, ModelConfig& model) {
  const std::int64_t head_dim = r.integer("head_dim", 2, kMostOfAny);
  model.heads = r.integer("num_attention_heads", 1, 4096);
  model.q_lora_rank = r.integer("q_lora_rank", 1, kMostOfAny);
  model.qk_rope_head_dim = read_rotated(r, head_dim);
  r.has("partial_rotary_factor");
  model.kv_lora_rank = model.qk_nope_head_dim = head_dim - model.qk_rope_head_dim;
  model.v_head_dim = head_dim;
  model.index_heads = r.integer("index_n_heads", 1, 4096);
  model.index_head_dim = r.integer("index_head_dim", 2, kMostOfAny);
  model.index_topk = r.integer("index_topk", 1, kMostOfAny);
  r.require(model.qk_rope_head_dim % 2 == 0, "qk_rope_head_dim", "it must be even");
  r.require(model.qk_rope_head_dim <= model.index_head_dim, "index_head_dim",
            "it must be at least qk_rope_head_dim");
  model.mla_rope = model.index_rope = RopeLayout::interleaved;
  model.index_rope_last = true;
  model.attention_sinks = true;
  model.compressed = CompressedAttention{
      .window = r.integer("sliding_window", 1, 1 << 30),
      .ratios = read_ratios(r, model.layers),
      .output_groups = r.integer("o_groups", 1, model.heads),
      .output_rank = r.integer("o_lora_rank", 1, kMostOfAny),
      .rope_theta = 0,
      .yarn = {},
  };
  r.require(model.heads % model.compressed->output_groups == 0, "o_groups",
            fmt::format("{} heads do not divide into {} groups", model.heads,
                        model.compressed->output_groups));
  read_rope_tables(r, model);
}

void read_expert_layers(const ConfigReader& r, ModelConfig& model) {
  model.moe_layer.assign(static_cast<std::size_t>(model.layers), true);
  model.routed_experts = r.integer("n_routed_experts", 1, kMostOfAny);
  model.shared_experts = r.integer_or("n_shared_experts", 1, 64, 1);
  model.moe_intermediate = r.integer("moe_intermediate_size", 1, kMostOfAny);
  model.intermediate = model.moe_intermediate * model.shared_experts;  // no layer is dense
  model.hash_layers = read_hash_layers(r, model.layers);
  model.router = RouterRule{
      .groups = 1,
      .kept_groups = 1,
      .experts_used = r.integer("num_experts_per_tok", 1, model.routed_experts),
      .normalize = true,
      .scale = static_cast<float>(r.positive_or("routed_scaling_factor", 1)),
      .score = RouterScore::sqrt_softplus,
  };
  model.expert_limit = model.shared_limit = static_cast<float>(r.positive_or("swiglu_limit", 10));
}

// "fp4" at the top, or where transformers moves it.
bool states_fp4(const ConfigReader& r) {
  std::string type = r.text_or("expert_dtype", "");
  if (type.empty() && r.has("quantization_config") && r.at("quantization_config").is_object()) {
    type = r.object("quantization_config").text_or("expert_dtype", "");
  }
  r.require(type.empty() || type == "fp4" || type == "fp8" || type == "bf16", "expert_dtype",
            quote(type) + " is not supported: fp4, fp8 and bf16 are");
  return type == "fp4";
}

// Programs that serve the model count the layers of these keys in different ways.
void read_shared_layers(const ConfigReader& r, ModelConfig& model) {
  model.native_full.assign(model.letters(), true);
  for (const char* key : {"index_topk_pattern", "index_topk_freq"}) {
    if (!r.has(key) || r.at(key) == 1) continue;
    model.sharing_problem = fmt::format("{} of {} means different layers in different engines", key,
                                        model.family->title);
  }
  for (const char* key : {"use_index_cache", "index_topk_min_seq_len", "index_skip_topk_offset"}) {
    r.has(key);
  }
}

}  // namespace

void read_deepseek_v4_config(const ConfigReader& r, ModelConfig& model) {
  refuse_other_variants(r);
  model.vocabulary = r.integer("vocab_size", 1, kMostOfAny);
  model.hidden = r.integer("hidden_size", 1, kMostOfAny);
  model.layers = r.integer("num_hidden_layers", 1, 4096);
  model.mtp_layers = r.integer_or("num_nextn_predict_layers", 0, 64, 0);
  model.max_positions = r.integer("max_position_embeddings", 1, 1 << 30);
  model.rms_norm_eps = model.mla_norm_eps = model.index_norm_eps =
      static_cast<float>(r.positive("rms_norm_eps"));
  read_compressed_attention(r, model);
  read_expert_layers(r, model);
  model.streams = StreamRule{
      .count = r.integer_or("hc_mult", 1, kMostStreams, 4),
      .norm_eps = model.rms_norm_eps,
      .eps = static_cast<float>(r.positive_or("hc_eps", kUsualStreamEps)),
      .factor_scale = 2,
      .factor_eps = 0,
      .mixing_rounds = static_cast<int>(r.integer_or("hc_sinkhorn_iters", 1, kMostRounds, 20)),
  };
  model.packs_experts = states_fp4(r);
  read_shared_layers(r, model);
  read_block_fp8(r, model);
}

}  // namespace indexcache
