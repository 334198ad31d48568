// SPDX-License-Identifier: Apache-2.0
// A.X-K2: DeepSeek-V3.2 with gated norms, and a gate on attention that is computed with the
// queries.
#include "model/families/dsa.h"
#include "model/families/families.h"

#include <string>

namespace indexcache {
namespace {

constexpr std::int64_t kUsualGateRank = 16;

void read(const ConfigReader& r, ModelConfig& model) {
  read_dsa_config(r, {.dense_layers = 1, .shared_experts = 1, .routed_scaling = 2.5}, model);
  r.require(r.flag_or("gated_norm", true), "gated_norm", "only true is supported");
  model.raw_q_latent = true;
  model.output_gate = OutputGate::queries;
  model.norm_gate_rank = r.integer_or("gated_norm_rank", 1, model.hidden, kUsualGateRank);
  model.router.excluded = 0;
}

// The norm `name` of a layer, which gets a gate.
void gate_norm(WeightTable& table, const ModelConfig& c, const std::string& name, WeightRole norm,
               WeightRole down, WeightRole up) {
  row_of(table, norm).names = {name + ".norm.weight"};
  table.push_back(matrix_weight(down, name + ".W_down.weight", c.norm_gate_rank, c.hidden));
  table.push_back(matrix_weight(up, name + ".W_up.weight", c.hidden, c.norm_gate_rank));
}

// The norm before a dense MLP has no gate.
WeightTable layer_weights(const ModelConfig& c, std::int64_t layer) {
  using enum WeightRole;
  WeightTable table = dsa_layer_weights(c, layer);
  const std::string p = c.family->layers + std::to_string(layer) + ".";
  gate_norm(table, c, p + "input_layernorm", input_norm, input_gate_down, input_gate_up);
  if (c.moe_layer[static_cast<std::size_t>(layer)]) {
    gate_norm(table, c, p + "post_attention_layernorm", post_attention_norm,
              post_attention_gate_down, post_attention_gate_up);
  }
  return table;
}

}  // namespace

const Family kAxk2 = {
    .title = "A.X-K2",
    .model_type = "axk2",
    .architecture = "AXK2ForCausalLM",
    .backbone = "AXK2Model",
    .chat_formats = {},
    .dense_relatives = {},
    .layers = "model.layers.",
    .indexer = ".self_attn.indexer.",
    .read = read,
    .outer_weights = dsa_outer_weights,
    .layer_weights = layer_weights,
};

}  // namespace indexcache
