// SPDX-License-Identifier: Apache-2.0
// Tensors of a checkpoint that the forward pass leaves out.
#pragma once

#include "io/checkpoint.h"
#include "model/config.h"

#include <string>
#include <vector>

namespace indexcache {

// Names of all tensors that are not read, apart from those of MTP layers and tables that are
// computed. Throws InputError for one that changes what a tensor next to it means: a bias of a
// weight that is read, or a scale of a weight that is not stored in FP8.
std::vector<std::string> unread_tensors(const ModelConfig& config, const Checkpoint& checkpoint,
                                        const std::vector<bool>& has_indexer);

}  // namespace indexcache
