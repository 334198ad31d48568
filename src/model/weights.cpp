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

// Of the inputs of the sublayers; null for other roles.
Tensor* input_member(LayerWeights& w, WeightRole role) {
  InputWeights &attention = w.attention_input, &mlp = w.mlp_input;
  switch (role) {
    case WeightRole::input_norm:
      return &attention.norm;
    case WeightRole::input_gate_down:
      return &part_of(attention.gate).down;
    case WeightRole::input_gate_up:
      return &part_of(attention.gate).up;
    case WeightRole::attention_stream_mixer:
      return &part_of(attention.streams).mixer;
    case WeightRole::attention_stream_base:
      return &part_of(attention.streams).base;
    case WeightRole::attention_stream_scale:
      return &part_of(attention.streams).scale;
    case WeightRole::post_attention_norm:
      return &mlp.norm;
    case WeightRole::post_attention_gate_down:
      return &part_of(mlp.gate).down;
    case WeightRole::post_attention_gate_up:
      return &part_of(mlp.gate).up;
    case WeightRole::mlp_stream_mixer:
      return &part_of(mlp.streams).mixer;
    case WeightRole::mlp_stream_base:
      return &part_of(mlp.streams).base;
    case WeightRole::mlp_stream_scale:
      return &part_of(mlp.streams).scale;
    default:
      return nullptr;
  }
}

// Of weights that make entries; null for other roles.
Tensor* entry_member(LayerWeights& w, WeightRole role) {
  const auto of_indexer = [&]() -> EntryWeights& { return part_of(part_of(w.indexer).entries); };
  switch (role) {
    case WeightRole::entry_projections:
      return &part_of(w.entries).projections;
    case WeightRole::entry_bias:
      return &part_of(w.entries).bias;
    case WeightRole::entry_norm:
      return &part_of(w.entries).norm;
    case WeightRole::index_entry_projections:
      return &of_indexer().projections;
    case WeightRole::index_entry_bias:
      return &of_indexer().bias;
    case WeightRole::index_entry_norm:
      return &of_indexer().norm;
    default:
      return nullptr;
  }
}

}  // namespace

Tensor& member_of(LayerWeights& w, WeightRole role, std::size_t expert) {
  if (Tensor* tensor = input_member(w, role)) return *tensor;
  if (Tensor* tensor = entry_member(w, role)) return *tensor;
  switch (role) {
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
    case WeightRole::sinks:
      return w.sinks;
    case WeightRole::output_gate:
      return w.output_gate;
    case WeightRole::o_groups:
      return w.o_groups;
    case WeightRole::o:
      return w.o;
    case WeightRole::router:
      return part_of(w.moe).gate;
    case WeightRole::router_bias:
      return part_of(w.moe).correction_bias;
    case WeightRole::hash_table:
      return part_of(w.moe).hash_table;
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

Tensor& member_of(OuterWeights& w, WeightRole role) {
  switch (role) {
    case WeightRole::embedding:
      return w.embedding;
    case WeightRole::final_norm:
      return w.final_norm;
    case WeightRole::lm_head:
      return w.lm_head;
    case WeightRole::head_stream_mixer:
      return part_of(w.head_streams).mixer;
    case WeightRole::head_stream_base:
      return part_of(w.head_streams).base;
    case WeightRole::head_stream_scale:
      return part_of(w.head_streams).scale;
    default:
      throw InternalError({"a weight is part of a layer", "member_of", "", ""});
  }
}

}  // namespace indexcache
