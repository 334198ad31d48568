// SPDX-License-Identifier: Apache-2.0
// Every tensor that a config implies, and the check of a checkpoint against it.
#pragma once

#include "io/checkpoint.h"
#include "model/config.h"

#include <cstdint>
#include <string>
#include <vector>

namespace indexcache {

struct TensorSpec {
  std::string name;
  std::vector<std::int64_t> shape;
};

// Outside the layers: embedding, final norm, lm_head.
std::vector<TensorSpec> outer_tensors(const ModelConfig& config);

// Norms and MLA of one layer.
std::vector<TensorSpec> attention_tensors(const ModelConfig& config, std::int64_t layer);

// The lightning indexer of one layer.
std::vector<TensorSpec> indexer_tensors(const ModelConfig& config, std::int64_t layer);

// MLP or experts of one layer; `fused` names the [E, …] tensors of transformers' fused layout.
// e_score_correction_bias is optional and not among them.
std::vector<TensorSpec> feed_forward_tensors(const ModelConfig& config, std::int64_t layer,
                                             bool fused);

std::string layer_prefix(std::int64_t layer);        // "model.layers.3."
std::string fused_gate_up_name(std::int64_t layer);  // presence selects the fused layout
std::string correction_bias_name(std::int64_t layer);

// Which of `layers` layers own an indexer, from the names of tensors in any format: a packed weight
// has other endings. Layers beyond these are those of MTP.
std::vector<bool> indexer_owners(const std::vector<std::string>& names, std::size_t layers);

// Checks presence, shape, dtype and FP8 scales of everything that the forward pass will read, from
// headers only. Returns which layers own an indexer: those with indexer tensors, all of which must
// then exist, as they must in layers that config.json states as full. Throws InputError naming file
// and tensor, UnreadFormat if they are stored in a format that is known but not read. Tensors of
// MTP layers are ignored.
std::vector<bool> check_checkpoint(const ModelConfig& config, const Checkpoint& checkpoint);

}  // namespace indexcache
