// SPDX-License-Identifier: Apache-2.0
#include "model/sizes.h"

#include <algorithm>

namespace indexcache {
namespace {

// Of one matrix per expert.
std::int64_t elements_of(const WeightRow& row) {
  return static_cast<std::int64_t>(row.names.size()) * row.rows * row.cols;
}

// Products that a row goes through.
double products(const WeightTable& table, const ModelConfig& config) {
  std::int64_t elements = 0;
  for (const WeightRow& row : table) {
    if (row.form == WeightForm::row) continue;
    elements += elements_of(row) * (row.experts > 0 ? config.router.experts_used : 1);
  }
  return 2.0 * static_cast<double>(elements);
}

}  // namespace

std::int64_t parameters_of(const WeightTable& table) {
  std::int64_t count = 0;
  for (const WeightRow& row : table) {
    if (!row.optional) count += elements_of(row) * std::max<std::int64_t>(row.experts, 1);
  }
  return count;
}

double trunk_row_operations(const ModelConfig& config, std::int64_t layer) {
  return products(trunk_rows(config.family->layer_weights(config, layer)), config);
}

double indexer_row_operations(const ModelConfig& config, std::int64_t layer) {
  return products(indexer_rows(config.family->layer_weights(config, layer)), config);
}

double indexer_pair_operations(const ModelConfig& config) {
  return 2.0 * static_cast<double>(config.index_heads * config.index_head_dim);
}

double expanded_pair_operations(const ModelConfig& config) {
  return 2.0 * static_cast<double>(config.heads * (config.qk_head_dim() + config.v_head_dim));
}

double attention_pair_operations(const ModelConfig& config) {
  if (config.dense) return expanded_pair_operations(config);
  return 2.0 * static_cast<double>(config.heads * (config.latent_width() + config.value_width()));
}

double loss_row_operations(const ModelConfig& config) {
  return 2.0 * static_cast<double>(config.hidden * config.vocabulary);
}

}  // namespace indexcache
