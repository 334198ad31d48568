// SPDX-License-Identifier: Apache-2.0
// Names of the released checkpoint. w1 of an MLP is its gate, w3 up and w2 down.
#include "model/families/deepseek_v4.h"
#include "model/families/stream_weights.h"

#include <string>

namespace indexcache {
namespace {

using enum WeightRole;

struct EntryRoles {
  WeightRole projections, bias, norm;
};

// What pools entries of `width` numbers: values and gates of a position, twice as wide if entries
// overlap.
void add_entries(WeightTable& table, const ModelConfig& c, const std::string& prefix,
                 const EntryRoles& roles, std::int64_t ratio, std::int64_t width) {
  const std::int64_t n = ratio == CompressedAttention::kSelectedRatio ? 2 * width : width;
  WeightRow projections = matrix_weight(roles.projections, prefix + "wkv.weight", n, c.hidden);
  projections.names.push_back(prefix + "wgate.weight");
  table.push_back(projections);
  table.push_back(exact_weight(roles.bias, prefix + "ape", ratio, n));
  table.push_back(row_weight(roles.norm, prefix + "norm.weight", width));
}

void add_attention(WeightTable& table, const ModelConfig& c, const std::string& a,
                   std::int64_t ratio) {
  const CompressedAttention& of = *c.compressed;
  const std::int64_t width = c.latent_width(), groups = of.output_groups;
  WeightRow o = projection_weight(o_groups, a + "wo_a.weight", groups * of.output_rank,
                                  c.heads / groups * width);
  o.form = WeightForm::heads;
  const WeightTable all = {
      projection_weight(q_a, a + "wq_a.weight", c.q_lora_rank, c.hidden),
      row_weight(q_a_norm, a + "q_norm.weight", c.q_lora_rank),
      projection_weight(q_b, a + "wq_b.weight", c.heads * width, c.q_lora_rank),
      projection_weight(kv_a, a + "wkv.weight", width, c.hidden),
      row_weight(kv_a_norm, a + "kv_norm.weight", width),
      row_weight(sinks, a + "attn_sink", c.heads),
      o,
      projection_weight(WeightRole::o, a + "wo_b.weight", c.hidden, groups * of.output_rank)};
  table.insert(table.end(), all.begin(), all.end());
  if (ratio == 1) return;
  add_entries(table, c, a + "compressor.", {entry_projections, entry_bias, entry_norm}, ratio,
              width);
  if (ratio != CompressedAttention::kSelectedRatio) return;
  const std::string i = a + "indexer.";
  table.push_back(projection_weight(index_q, i + "wq_b.weight", c.index_heads * c.index_head_dim,
                                    c.q_lora_rank));
  add_entries(table, c, i + "compressor.",
              {index_entry_projections, index_entry_bias, index_entry_norm}, ratio,
              c.index_head_dim);
  table.push_back(matrix_weight(index_weights, i + "weights_proj.weight", c.index_heads, c.hidden));
}

void add_shared_mlp(WeightTable& table, const std::string& prefix, std::int64_t width,
                    std::int64_t hidden) {
  WeightRow gate_up = projection_weight(mlp_gate_up, prefix + "w1.weight", width, hidden);
  gate_up.names.push_back(prefix + "w3.weight");
  table.push_back(gate_up);
  table.push_back(projection_weight(mlp_down, prefix + "w2.weight", hidden, width));
}

void add_all_experts(WeightTable& table, const ModelConfig& c, const std::string& f,
                     std::int64_t layer) {
  table.push_back(matrix_weight(router, f + "gate.weight", c.routed_experts, c.hidden));
  if (layer < c.hash_layers) {
    WeightRow chosen =
        matrix_weight(hash_table, f + "gate.tid2eid", c.vocabulary, c.router.experts_used);
    chosen.form = WeightForm::table;
    table.push_back(chosen);
  } else {
    table.push_back(row_weight(router_bias, f + "gate.bias", c.routed_experts));
  }
  const std::string expert = f + "experts.{}.";
  WeightRow gate_up =
      projection_weight(expert_gate_up, expert + "w1.weight", c.moe_intermediate, c.hidden);
  gate_up.names.push_back(expert + "w3.weight");
  WeightRow down =
      projection_weight(expert_down, expert + "w2.weight", c.hidden, c.moe_intermediate);
  for (WeightRow* row : {&gate_up, &down}) {
    row->experts = c.routed_experts;
    row->packed = c.packs_experts;
    row->quantized = !c.packs_experts;
    table.push_back(*row);
  }
  add_shared_mlp(table, f + "shared_experts.", c.intermediate, c.hidden);
}

}  // namespace

WeightTable deepseek_v4_outer_weights(const ModelConfig& c) {
  WeightTable table = {matrix_weight(embedding, "embed.weight", c.vocabulary, c.hidden),
                       row_weight(final_norm, "norm.weight", c.hidden),
                       matrix_weight(lm_head, "head.weight", c.vocabulary, c.hidden)};
  add_streams(table, c, "hc_head_", {head_stream_mixer, head_stream_base, head_stream_scale},
              c.streams->count, 1);
  return table;
}

WeightTable deepseek_v4_layer_weights(const ModelConfig& c, std::int64_t layer) {
  const std::string p = c.family->layers + std::to_string(layer) + ".";
  const std::int64_t outputs = c.streams->count + c.streams->coefficients();
  WeightTable table = {row_weight(input_norm, p + "attn_norm.weight", c.hidden),
                       row_weight(post_attention_norm, p + "ffn_norm.weight", c.hidden)};
  add_streams(table, c, p + "hc_attn_",
              {attention_stream_mixer, attention_stream_base, attention_stream_scale}, outputs, 3);
  add_streams(table, c, p + "hc_ffn_", {mlp_stream_mixer, mlp_stream_base, mlp_stream_scale},
              outputs, 3);
  add_attention(table, c, p + "attn.", c.compressed->ratios[static_cast<std::size_t>(layer)]);
  add_all_experts(table, c, p + "ffn.", layer);
  return table;
}

}  // namespace indexcache
