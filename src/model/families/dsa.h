// SPDX-License-Identifier: Apache-2.0
// What DeepSeek-V3.2 and its kin have in common: MLA, a lightning indexer with a key per token in
// every layer, dense MLPs, then experts (docs/numerics.md). A family of this kind states what is
// different.
#pragma once

#include "model/config.h"
#include "model/weight_table.h"

#include <cstdint>

namespace indexcache {

struct DsaDefaults {
  RopeLayout index_rope = RopeLayout::half_split;  // unless indexer_rope_interleave says it
  float index_norm_eps = 1e-6f;                    // of the indexer's LayerNorm; no key states it
  std::int64_t dense_layers = 0;                   // unless config.json states it
};

void read_dsa_config(const ConfigReader& config, const DsaDefaults& defaults, ModelConfig& model);

WeightTable dsa_outer_weights(const ModelConfig& model);
WeightTable dsa_layer_weights(const ModelConfig& model, std::int64_t layer);

}  // namespace indexcache
