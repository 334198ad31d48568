// SPDX-License-Identifier: Apache-2.0
// DeepSeek-V4: attention over a window and compressed entries, streams that are mixed, experts that
// a table of tokens chooses in the first layers, and their FP4 storage.
#pragma once

#include "model/config.h"
#include "model/weight_table.h"

#include <cstdint>

namespace indexcache {

// config.json as released, or as transformers saves it.
void read_deepseek_v4_config(const ConfigReader& config, ModelConfig& model);

WeightTable deepseek_v4_outer_weights(const ModelConfig& model);
WeightTable deepseek_v4_layer_weights(const ModelConfig& model, std::int64_t layer);

}  // namespace indexcache
