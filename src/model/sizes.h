// SPDX-License-Identifier: Apache-2.0
// How much a model's weights and its forward pass are, from the weight table of its family: the one
// owner of these formulas. Operations are multiplications and additions, two per pair of numbers.
#pragma once

#include "model/config.h"
#include "model/weight_table.h"

#include <cstdint>

namespace indexcache {

// Numbers that a table's weights consist of, optional ones excluded.
std::int64_t parameters_of(const WeightTable& table);

// Operations of a row in a layer: every projection, and the experts that a row uses. The indexer
// and what depends on the number of keys are not included.
double trunk_row_operations(const ModelConfig& config, std::int64_t layer);
// The same of its indexer.
double indexer_row_operations(const ModelConfig& config, std::int64_t layer);

// Operations for a query and a key: scores of the indexer, attention of all heads in the form that
// the model runs (absorbed; expanded if it is dense), and that in expanded form.
double indexer_pair_operations(const ModelConfig& config);
double attention_pair_operations(const ModelConfig& config);
double expanded_pair_operations(const ModelConfig& config);

// Operations of the logits of a row.
double loss_row_operations(const ModelConfig& config);

}  // namespace indexcache
