// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_registry.h"

#include "core/error.h"
#include "model/dequantize.h"
#include "model/weight_format.h"

#include <fmt/format.h>

#include <charconv>

namespace indexcache {
namespace {

void append(std::vector<TensorSpec>& list, const std::vector<TensorSpec>& more) {
  list.insert(list.end(), more.begin(), more.end());
}

std::vector<TensorSpec> mlp_tensors(const std::string& prefix, std::int64_t width,
                                    std::int64_t hidden) {
  return {{prefix + "gate_proj.weight", {width, hidden}},
          {prefix + "up_proj.weight", {width, hidden}},
          {prefix + "down_proj.weight", {hidden, width}}};
}

void check_all(const std::vector<TensorSpec>& specs, const ModelConfig& config,
               const Checkpoint& checkpoint) {
  for (const TensorSpec& spec : specs) {
    const std::string format = unread_storage(checkpoint, spec.name);
    if (!format.empty()) throw UnreadFormat(format, checkpoint.where(spec.name));
    const RawTensor& tensor = checkpoint.tensor(spec.name);
    if (tensor.shape != spec.shape) {
      throw InputError({"a tensor has the wrong shape", checkpoint.where(spec.name),
                        fmt::format("it is {}, but config.json implies {}",
                                    shape_text(tensor.shape), shape_text(spec.shape)),
                        "check that config.json and weights belong to the same checkpoint"});
    }
    check_readable(config, checkpoint, spec.name);
  }
}

// Refuses checkpoints whose tensors have names of another convention, before one of them is missed.
void check_naming(const Checkpoint& checkpoint) {
  constexpr std::string_view kEmbedding = "embed_tokens.weight";
  if (checkpoint.contains("model.embed_tokens.weight")) return;
  constexpr const char* kWhat = "the tensors are not named as those of a causal language model";
  for (const std::string& name : checkpoint.names()) {
    if (name == "embed.weight") {
      throw InputError({kWhat, checkpoint.where(name),
                        "the names are those of DeepSeek's own inference code",
                        "use the checkpoint that was converted for it"});
    }
    // MTP layers have copies of the embedding.
    if (!name.ends_with(kEmbedding) || name.starts_with("model.layers.")) continue;
    const std::string prefix = name.substr(0, name.size() - kEmbedding.size());
    throw InputError(
        {kWhat, checkpoint.where(name),
         prefix.empty() ? "they lack \"model.\" at the beginning, as AutoModel saves them"
                        : fmt::format("they begin with \"{}\", not with \"model.\"", prefix),
         "load the original with AutoModelForCausalLM and save it with save_pretrained, which "
         "keeps lm_head, too"});
  }
}

bool owns_indexer(const ModelConfig& config, const Checkpoint& checkpoint, std::int64_t layer) {
  for (const TensorSpec& spec : indexer_tensors(config, layer)) {
    if (checkpoint.contains(spec.name)) return true;
  }
  return false;
}

}  // namespace

std::string layer_prefix(std::int64_t layer) {
  return fmt::format("model.layers.{}.", layer);
}

std::string fused_gate_up_name(std::int64_t layer) {
  return layer_prefix(layer) + "mlp.experts.gate_up_proj";
}

std::string correction_bias_name(std::int64_t layer) {
  return layer_prefix(layer) + "mlp.gate.e_score_correction_bias";
}

std::vector<TensorSpec> outer_tensors(const ModelConfig& c) {
  return {{"model.embed_tokens.weight", {c.vocabulary, c.hidden}},
          {"model.norm.weight", {c.hidden}},
          {"lm_head.weight", {c.vocabulary, c.hidden}}};
}

std::vector<TensorSpec> attention_tensors(const ModelConfig& c, std::int64_t layer) {
  const std::string p = layer_prefix(layer);
  const std::string a = p + "self_attn.";
  return {{p + "input_layernorm.weight", {c.hidden}},
          {p + "post_attention_layernorm.weight", {c.hidden}},
          {a + "q_a_proj.weight", {c.q_lora_rank, c.hidden}},
          {a + "q_a_layernorm.weight", {c.q_lora_rank}},
          {a + "q_b_proj.weight", {c.heads * c.qk_head_dim(), c.q_lora_rank}},
          {a + "kv_a_proj_with_mqa.weight", {c.latent_width(), c.hidden}},
          {a + "kv_a_layernorm.weight", {c.kv_lora_rank}},
          {a + "kv_b_proj.weight", {c.heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank}},
          {a + "o_proj.weight", {c.hidden, c.heads * c.v_head_dim}}};
}

std::vector<TensorSpec> indexer_tensors(const ModelConfig& c, std::int64_t layer) {
  const std::string i = layer_prefix(layer) + "self_attn.indexer.";
  return {{i + "wq_b.weight", {c.index_heads * c.index_head_dim, c.q_lora_rank}},
          {i + "wk.weight", {c.index_head_dim, c.hidden}},
          {i + "k_norm.weight", {c.index_head_dim}},
          {i + "k_norm.bias", {c.index_head_dim}},
          {i + "weights_proj.weight", {c.index_heads, c.hidden}}};
}

std::vector<TensorSpec> feed_forward_tensors(const ModelConfig& c, std::int64_t layer, bool fused) {
  const std::string m = layer_prefix(layer) + "mlp.";
  if (!c.moe_layer[static_cast<std::size_t>(layer)]) {
    return mlp_tensors(m, c.intermediate, c.hidden);
  }
  std::vector<TensorSpec> list = {{m + "gate.weight", {c.routed_experts, c.hidden}}};
  if (fused) {
    list.push_back(
        {fused_gate_up_name(layer), {c.routed_experts, 2 * c.moe_intermediate, c.hidden}});
    list.push_back({m + "experts.down_proj", {c.routed_experts, c.hidden, c.moe_intermediate}});
  } else {
    for (std::int64_t e = 0; e < c.routed_experts; ++e) {
      append(list, mlp_tensors(fmt::format("{}experts.{}.", m, e), c.moe_intermediate, c.hidden));
    }
  }
  if (c.shared_experts > 0) {
    append(list,
           mlp_tensors(m + "shared_experts.", c.moe_intermediate * c.shared_experts, c.hidden));
  }
  return list;
}

std::vector<bool> indexer_owners(const std::vector<std::string>& names, std::size_t layers) {
  constexpr std::string_view kLayers = "layers.";
  std::vector<bool> owners(layers, false);
  for (const std::string& name : names) {
    const std::size_t at = name.find(kLayers);
    if (at == name.npos || name.find(".self_attn.indexer.", at) == name.npos) continue;
    std::size_t layer = layers;
    const char* end = name.data() + name.size();
    std::from_chars(name.data() + at + kLayers.size(), end, layer);
    if (layer < layers) owners[layer] = true;
  }
  return owners;
}

std::vector<bool> check_checkpoint(const ModelConfig& config, const Checkpoint& checkpoint) {
  check_naming(checkpoint);
  check_all(outer_tensors(config), config, checkpoint);
  std::vector<bool> has_indexer;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    check_all(attention_tensors(config, layer), config, checkpoint);
    const bool fused = checkpoint.contains(fused_gate_up_name(layer));
    check_all(feed_forward_tensors(config, layer, fused), config, checkpoint);
    const std::string bias = correction_bias_name(layer);
    if (checkpoint.contains(bias)) {
      check_all({{bias, {config.routed_experts}}}, config, checkpoint);
    }
    has_indexer.push_back(owns_indexer(config, checkpoint, layer));
    const bool stated_full =
        config.sharing_problem.empty() && config.native_full[static_cast<std::size_t>(layer)];
    if (has_indexer.back() || stated_full) {
      check_all(indexer_tensors(config, layer), config, checkpoint);
    }
  }
  return has_indexer;
}

}  // namespace indexcache
