// SPDX-License-Identifier: Apache-2.0
// A family that exists only in tests: what adding one takes. It is DeepSeek-V3.2 with other names
// of tensors and another epsilon in the indexer's LayerNorm. docs/models.md walks through this
// file.
#pragma once

#include "model/families/dsa.h"
#include "model/family.h"
#include "support/model_copy.h"

#include <string>

namespace indexcache::test {

// "model.layers.3.self_attn.indexer.wq_b.weight" -> "decoder.blocks.3.mla.selector.wq_b.weight"
inline std::string sample_name(std::string name) {
  for (const auto& [from, to] : {std::pair{"model.", "decoder."},
                                 {".layers.", ".blocks."},
                                 {".self_attn.", ".mla."},
                                 {".indexer.", ".selector."},
                                 {".mlp.experts.", ".moe.experts."}}) {
    const std::size_t at = name.find(from);
    if (at != name.npos) name.replace(at, std::string(from).size(), to);
  }
  return name;
}

inline WeightTable renamed(WeightTable table) {
  for (WeightRow& row : table) {
    for (std::string& name : row.names) name = sample_name(name);
    row.stack = sample_name(row.stack);
  }
  return table;
}

inline constexpr float kSampleNormEps = 0.25f;  // large, so that its effect shows

inline const Family kSample = {
    .title = "Sample",
    .model_type = "sample_dsa",
    .architecture = "SampleForCausalLM",
    .backbone = "SampleModel",
    .chat_formats = {},
    .dense_relatives = {},
    .layers = "decoder.blocks.",
    .indexer = ".mla.selector.",
    .read =
        [](const ConfigReader& r, ModelConfig& model) {
          read_dsa_config(r, {.index_norm_eps = kSampleNormEps}, model);
        },
    .outer_weights = [](const ModelConfig& model) { return renamed(dsa_outer_weights(model)); },
    .layer_weights = [](const ModelConfig& model,
                        std::int64_t layer) { return renamed(dsa_layer_weights(model, layer)); },
};

// A checkpoint of it: the numbers of deepseek_v32_tiny.
struct SampleCheckpoint : ModelCopy {
  SampleCheckpoint() {
    change_config([](Json& config) {
      config["model_type"] = kSample.model_type;
      config["architectures"] = {kSample.architecture};
    });
    change_tensors([](auto& tensors) {
      for (StoredTensor& tensor : tensors) tensor.name = sample_name(tensor.name);
    });
  }
};

}  // namespace indexcache::test
