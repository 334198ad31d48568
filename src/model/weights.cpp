// SPDX-License-Identifier: Apache-2.0
#include "model/weights.h"

namespace indexcache {
namespace {

template <typename Part>
Part& part_of(std::optional<Part>& part) {
  return part ? *part : part.emplace();
}

Tensor& expert_of(std::vector<Tensor>& experts, std::size_t expert) {
  if (expert == experts.size()) experts.emplace_back();
  return experts.at(expert);
}

}  // namespace

Tensor& member_of(LayerWeights& w, WeightRole role, std::size_t expert) {
  switch (role) {
    case WeightRole::input_norm:
      return w.input_norm;
    case WeightRole::post_attention_norm:
      return w.post_attention_norm;
    case WeightRole::input_gate_down:
      return part_of(w.input_gate).down;
    case WeightRole::input_gate_up:
      return part_of(w.input_gate).up;
    case WeightRole::post_attention_gate_down:
      return part_of(w.post_attention_gate).down;
    case WeightRole::post_attention_gate_up:
      return part_of(w.post_attention_gate).up;
    case WeightRole::q_a:
      return w.q_a;
    case WeightRole::q_a_norm:
      return w.q_a_norm;
    case WeightRole::q_b:
      return w.q_b;
    case WeightRole::kv_a:
      return w.kv_a;
    case WeightRole::kv_a_norm:
      return w.kv_a_norm;
    case WeightRole::o:
      return w.o;
    case WeightRole::router:
      return part_of(w.moe).gate;
    case WeightRole::router_bias:
      return part_of(w.moe).correction_bias;
    case WeightRole::expert_gate_up:
      return expert_of(part_of(w.moe).experts.gate_up, expert);
    case WeightRole::expert_down:
      return expert_of(part_of(w.moe).experts.down, expert);
    case WeightRole::mlp_gate_up:
      return part_of(w.mlp).gate_up;
    case WeightRole::mlp_down:
      return part_of(w.mlp).down;
    default:
      return indexer_member(part_of(w.indexer), role);
  }
}

}  // namespace indexcache
