// SPDX-License-Identifier: Apache-2.0
// What DeepSeek-V3.2 and its kin have in common: MLA, a lightning indexer with a key per token in
// every layer, dense MLPs, then experts (docs/numerics.md). A family of this kind states what is
// different.
#pragma once

#include "model/config.h"
#include "model/weight_table.h"

#include <cstdint>

namespace indexcache {

// What holds unless config.json states something else.
struct DsaDefaults {
  RopeLayout mla_rope = RopeLayout::interleaved;   // rope_interleave
  RopeLayout index_rope = RopeLayout::half_split;  // indexer_rope_interleave
  float index_norm_eps = 1e-6f;                    // of the indexer's LayerNorm; no key states it
  std::int64_t dense_layers = 0;                   // first_k_dense_replace
  std::int64_t shared_experts = 0;                 // n_shared_experts
  double routed_scaling = 1;                       // routed_scaling_factor
  std::int64_t sharing_period = 1;                 // index_topk_freq
};

void read_dsa_config(const ConfigReader& config, const DsaDefaults& defaults, ModelConfig& model);

// The parts of it that other architectures have as well: what quantization_config says, and options
// that would change the forward pass.
void read_block_fp8(const ConfigReader& config, ModelConfig& model);
void refuse_biases(const ConfigReader& config);

WeightTable dsa_outer_weights(const ModelConfig& model);
WeightTable dsa_layer_weights(const ModelConfig& model, std::int64_t layer);

}  // namespace indexcache
