// SPDX-License-Identifier: Apache-2.0
// GLM-5, 5.1, 5.2 and 5.3.
#include "model/families/dsa.h"
#include "model/families/families.h"

namespace indexcache {

const Family kGlmMoeDsa = {
    .title = "GLM-5",
    .model_type = "glm_moe_dsa",
    .architecture = "GlmMoeDsaForCausalLM",
    .backbone = "GlmMoeDsaModel",
    .chat_formats = {"glm-5", "glm-5.1", "glm-5.2", "glm-5.3"},
    .dense_relatives = {"glm4_moe", "Glm4Moe", nullptr, nullptr},
    .layers = "model.layers.",
    .indexer = ".self_attn.indexer.",
    .read =
        [](const ConfigReader& r, ModelConfig& model) {
          read_dsa_config(r, {.index_rope = RopeLayout::interleaved}, model);
        },
    .outer_weights = dsa_outer_weights,
    .layer_weights = dsa_layer_weights,
};

}  // namespace indexcache
