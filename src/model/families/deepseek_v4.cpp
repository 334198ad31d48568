// SPDX-License-Identifier: Apache-2.0
#include "model/families/deepseek_v4.h"

#include "model/families/families.h"

namespace indexcache {

const Family kDeepseekV4 = {
    .title = "DeepSeek-V4",
    .model_type = "deepseek_v4",
    .architecture = "DeepseekV4ForCausalLM",
    .backbone = "DeepseekV4Model",
    .chat_formats = {},
    .dense_relatives = {},
    .layers = "layers.",
    .indexer = ".attn.indexer.",
    .short_scales = true,
    .read = read_deepseek_v4_config,
    .outer_weights = deepseek_v4_outer_weights,
    .layer_weights = deepseek_v4_layer_weights,
};

}  // namespace indexcache
