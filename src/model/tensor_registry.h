// SPDX-License-Identifier: Apache-2.0
// Every tensor that a config implies, and the check of a checkpoint against it.
#pragma once

#include "io/checkpoint.h"
#include "model/config.h"
#include "model/weight_table.h"

#include <cstdint>
#include <string>
#include <vector>

namespace indexcache {

// Outside the layers: embedding, final norm, lm_head.
std::vector<TensorSpec> outer_tensors(const ModelConfig& config);

// One layer without its indexer; `stacked` as in stored_tensors().
std::vector<TensorSpec> trunk_tensors(const ModelConfig& config, std::int64_t layer, bool stacked);

// The lightning indexer of one layer.
std::vector<TensorSpec> indexer_tensors(const ModelConfig& config, std::int64_t layer);

// Whether the checkpoint has one tensor for all experts of a layer; what is usual in the family if
// it has neither that nor one for each.
bool has_stacked_experts(const ModelConfig& config, const Checkpoint& checkpoint,
                         std::int64_t layer);

// What the forward pass reads, `has_indexer` by letter (ModelConfig::letters): outer tensors, then
// layer by layer. Optional tensors are listed only if they are there.
std::vector<TensorSpec> read_tensors(const ModelConfig& config, const Checkpoint& checkpoint,
                                     const std::vector<bool>& has_indexer);

// Which of `layers` layers own an indexer, from the names of tensors of any family and in any
// format: a packed weight has other endings. Layers beyond these are those of MTP.
std::vector<bool> indexer_owners(const std::vector<std::string>& names, std::size_t layers);

// Checks presence, shape, dtype and FP8 scales of everything that the forward pass will read, from
// headers only. Returns which layers own an indexer, by letter: those with indexer tensors, all of
// which must then exist, as they must in layers that config.json states as full. Throws InputError
// naming file and tensor, UnreadFormat if they are stored in a format that is known but not read.
// Tensors of MTP layers are ignored.
std::vector<bool> check_checkpoint(const ModelConfig& config, const Checkpoint& checkpoint);

}  // namespace indexcache
