// SPDX-License-Identifier: Apache-2.0
// Hy4: MLA with attention sinks and an output gate, residual streams, and experts whose SwiGLU is
// clamped; every fourth layer runs its indexer.
#include "model/families/dsa.h"
#include "model/families/families.h"
#include "model/families/stream_weights.h"

#include <string>

namespace indexcache {
namespace {

// Parts of the architecture that engines can switch off and released models have.
void require_parts(const ConfigReader& r) {
  for (const char* key : {"enable_ihc", "gated_mla", "learnable_sink"}) {
    r.require(r.flag_or(key, true), key, "only true is supported");
  }
  r.require(r.text_or("gating_type", "elementwise") == "elementwise", "gating_type",
            "only elementwise is supported");
  // How sinks were initialized, how logits are computed (always in float32 here), and training.
  for (const char* key :
       {"learnable_sink_init", "enable_lm_head_fp32", "head_dtype", "mtp_loss_factor"}) {
    r.has(key);
  }
}

void read(const ConfigReader& r, ModelConfig& model) {
  read_dsa_config(r,
                  {.mla_rope = RopeLayout::half_split,
                   .dense_layers = 1,
                   .shared_experts = 1,
                   .routed_scaling = 2.827,
                   .sharing_period = 4},
                  model);
  require_parts(r);
  model.index_norm_eps = model.rms_norm_eps;
  model.index_rope_last = true;
  model.output_gate = OutputGate::input;
  model.attention_sinks = true;
  model.expert_limit = static_cast<float>(r.positive_or("swiglu_limit", 10));
  model.streams = StreamRule{
      .count = r.integer_or("hc_mult", 1, kMostStreams, 4),
      .norm_eps = model.rms_norm_eps,
      .eps = static_cast<float>(r.positive_or("hc_eps", kUsualStreamEps)),
      .factor_scale = static_cast<float>(r.positive_or("hc_magnitude", 2)),
      .factor_eps = static_cast<float>(r.positive_or("hc_eps", kUsualStreamEps)),
  };
}

WeightTable outer_weights(const ModelConfig& c) {
  using enum WeightRole;
  WeightTable table = dsa_outer_weights(c);
  add_streams(table, c, "model.hc_head.hc_head_",
              {head_stream_mixer, head_stream_base, head_stream_scale}, c.streams->count, 1);
  return table;
}

WeightTable layer_weights(const ModelConfig& c, std::int64_t layer) {
  using enum WeightRole;
  WeightTable table = dsa_layer_weights(c, layer);
  const std::string p = c.family->layers + std::to_string(layer) + ".";
  const std::string a = p + "self_attn.";
  const std::int64_t outputs = c.streams->count + c.streams->coefficients();
  add_streams(table, c, p + "hc_attn_layer.hc_pre.hc_",
              {attention_stream_mixer, attention_stream_base, attention_stream_scale}, outputs, 2);
  add_streams(table, c, p + "hc_mlp_layer.hc_pre.hc_",
              {mlp_stream_mixer, mlp_stream_base, mlp_stream_scale}, outputs, 2);
  table.push_back(row_weight(sinks, a + "learnable_sink_param", c.heads));
  table.push_back(
      projection_weight(output_gate, a + "linear_gate.weight", c.heads * c.v_head_dim, c.hidden));
  return table;
}

}  // namespace

const Family kHyV4 = {
    .title = "Hy4",
    .model_type = "hy_v4",
    .architecture = "HYV4ForCausalLM",
    .backbone = "HYV4Model",
    .chat_formats = {},
    .dense_relatives = {},
    .layers = "model.layers.",
    .indexer = ".self_attn.indexer.",
    .mtp = "model.mtp_layers.",
    .stacks_experts = true,
    .read = read,
    .outer_weights = outer_weights,
    .layer_weights = layer_weights,
};

}  // namespace indexcache
