// SPDX-License-Identifier: Apache-2.0
#include "model/families/dsa.h"

#include <string>

namespace indexcache {
namespace {

WeightRow absorbed(WeightRole role, const std::string& name, std::int64_t rows, std::int64_t cols) {
  WeightRow absorbed = projection_weight(role, name, rows, cols);
  absorbed.form = WeightForm::absorbed;
  return absorbed;
}

void add_mlp(WeightTable& table, const std::string& prefix, std::int64_t width,
             std::int64_t hidden) {
  WeightRow gate_up =
      projection_weight(WeightRole::mlp_gate_up, prefix + "gate_proj.weight", width, hidden);
  gate_up.names.push_back(prefix + "up_proj.weight");
  table.push_back(gate_up);
  table.push_back(
      projection_weight(WeightRole::mlp_down, prefix + "down_proj.weight", hidden, width));
}

void add_experts(WeightTable& table, const std::string& prefix, const ModelConfig& c) {
  table.push_back(
      matrix_weight(WeightRole::router, prefix + "gate.weight", c.routed_experts, c.hidden));
  table.push_back(row_weight(WeightRole::router_bias, prefix + "gate.e_score_correction_bias",
                             c.routed_experts));
  table.back().optional = true;
  const std::string expert = prefix + "experts.{}.";
  WeightRow gate_up = projection_weight(WeightRole::expert_gate_up, expert + "gate_proj.weight",
                                        c.moe_intermediate, c.hidden);
  gate_up.names.push_back(expert + "up_proj.weight");
  WeightRow down = projection_weight(WeightRole::expert_down, expert + "down_proj.weight", c.hidden,
                                     c.moe_intermediate);
  gate_up.experts = down.experts = c.routed_experts;
  // The layout in which transformers holds and saves them.
  gate_up.stack = prefix + "experts.gate_up_proj";
  down.stack = prefix + "experts.down_proj";
  table.push_back(gate_up);
  table.push_back(down);
  if (c.shared_experts == 0) return;
  add_mlp(table, prefix + "shared_experts.", c.moe_intermediate * c.shared_experts, c.hidden);
}

}  // namespace

WeightTable dsa_outer_weights(const ModelConfig& c) {
  return {matrix_weight(WeightRole::embedding, "model.embed_tokens.weight", c.vocabulary, c.hidden),
          row_weight(WeightRole::final_norm, "model.norm.weight", c.hidden),
          matrix_weight(WeightRole::lm_head, "lm_head.weight", c.vocabulary, c.hidden)};
}

WeightTable dsa_layer_weights(const ModelConfig& c, std::int64_t layer) {
  using enum WeightRole;
  const std::string p = c.family->layers + std::to_string(layer) + ".";
  const std::string a = p + "self_attn.", i = a + "indexer.";
  WeightTable table = {
      row_weight(input_norm, p + "input_layernorm.weight", c.hidden),
      row_weight(post_attention_norm, p + "post_attention_layernorm.weight", c.hidden),
      projection_weight(q_a, a + "q_a_proj.weight", c.q_lora_rank, c.hidden),
      row_weight(q_a_norm, a + "q_a_layernorm.weight", c.q_lora_rank),
      projection_weight(q_b, a + "q_b_proj.weight", c.heads * c.q_head_rows(), c.q_latent_width()),
      projection_weight(kv_a, a + "kv_a_proj_with_mqa.weight", c.latent_width(), c.hidden),
      row_weight(kv_a_norm, a + "kv_a_layernorm.weight", c.kv_lora_rank),
      absorbed(kv_b, a + "kv_b_proj.weight", c.heads * (c.qk_nope_head_dim + c.v_head_dim),
               c.kv_lora_rank),
      projection_weight(o, a + "o_proj.weight", c.hidden, c.heads * c.v_head_dim),
      projection_weight(index_q, i + "wq_b.weight", c.index_heads * c.index_head_dim,
                        c.q_lora_rank),
      projection_weight(index_k, i + "wk.weight", c.index_head_dim, c.hidden),
      row_weight(index_k_norm, i + "k_norm.weight", c.index_head_dim),
      row_weight(index_k_norm_bias, i + "k_norm.bias", c.index_head_dim),
      matrix_weight(index_weights, i + "weights_proj.weight", c.index_heads, c.hidden)};
  if (c.moe_layer[static_cast<std::size_t>(layer)]) {
    add_experts(table, p + "mlp.", c);
  } else {
    add_mlp(table, p + "mlp.", c.intermediate, c.hidden);
  }
  return table;
}

}  // namespace indexcache
