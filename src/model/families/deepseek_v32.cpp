// SPDX-License-Identifier: Apache-2.0
#include "model/families/dsa.h"
#include "model/families/families.h"

namespace indexcache {

const Family kDeepseekV32 = {
    .title = "DeepSeek-V3.2",
    .model_type = "deepseek_v32",
    .architecture = "DeepseekV32ForCausalLM",
    .backbone = "DeepseekV32Model",
    .chat_formats = {"deepseek-v3.2"},
    .dense_relatives = {"deepseek_v3", "deepseek_v2", "DeepseekV3", "DeepseekV2"},
    .layers = "model.layers.",
    .indexer = ".self_attn.indexer.",
    .read = [](const ConfigReader& r, ModelConfig& model) { read_dsa_config(r, {}, model); },
    .outer_weights = dsa_outer_weights,
    .layer_weights = dsa_layer_weights,
};

}  // namespace indexcache
