// SPDX-License-Identifier: Apache-2.0
// Operations of attention over a window and entries (ModelConfig::compressed) for `bench ops`.
#pragma once

#include "model/config.h"
#include "model/weights.h"
#include "ops_timer.h"

#include <cstdint>

namespace indexcache {

// Times the products that only such layers have; `layer` is one with an indexer.
void time_entry_products(const ModelConfig& config, const LayerWeights& layer, std::int64_t rows,
                         OpsTimer& timer);

// Times the pooling of a sequence's entries, by ratio.
void time_pooling(const ModelConfig& config, std::int64_t context, OpsTimer& timer);

// Times attention of the last positions of a sequence of `context` tokens, one for each row of
// `sets` (i32 [rows, K]): over the entries in the sets, over those and the window, and for each
// ratio of layers without an indexer over the window and all entries.
void time_window_attention(const ModelConfig& config, const LayerWeights& layer,
                           std::int64_t context, const Tensor& sets, OpsTimer& timer);

}  // namespace indexcache
