// SPDX-License-Identifier: Apache-2.0
#include "model/synthetic_weights.h"

#include <cmath>

namespace indexcache {

SyntheticWeights::SyntheticWeights(const ModelConfig& config, Device& backend, bool share_layers)
    : config_(config), backend_(backend), share_layers_(share_layers) {
  embedding_ = matrix(config.vocabulary, config.hidden);
  final_norm_ = constant(config.hidden, 1.0f);
  lm_head_ = matrix(config.vocabulary, config.hidden);
  for (std::int64_t layer = 0; layer < config.layers; ++layer) SyntheticWeights::layer(layer);
}

Tensor SyntheticWeights::matrix(std::int64_t rows, std::int64_t cols) {
  Tensor tensor = backend_.allocate(rows, cols, backend_.activation(), Memory::weights);
  const float scale = std::sqrt(3.0f / static_cast<float>(cols));
  backend_.fill_random(tensor, scale, 0.0f, ++seed_);
  bytes_ += rows * cols * static_cast<std::int64_t>(size_of(tensor.dtype()));
  return tensor;
}

Tensor SyntheticWeights::constant(std::int64_t cols, float value) {
  Tensor tensor = backend_.allocate(1, cols, DType::f32, Memory::weights);
  backend_.fill_random(tensor, 0.0f, value, ++seed_);
  bytes_ += 4 * cols;
  return tensor;
}

LayerWeights SyntheticWeights::make(std::int64_t layer) {
  const ModelConfig& c = config_;
  LayerWeights w;
  for_each_weight(
      c.family->layer_weights(c, layer), [&](const WeightRow& row, std::int64_t expert) {
        if (row.form == WeightForm::absorbed) {
          w.k_absorb = matrix(c.heads * c.kv_lora_rank, c.qk_nope_head_dim);
          w.v_absorb = matrix(c.heads * c.v_head_dim, c.kv_lora_rank);
          return;
        }
        const bool bias =
            row.role == WeightRole::index_k_norm_bias || row.role == WeightRole::router_bias;
        const auto parts = static_cast<std::int64_t>(row.names.size());
        member_of(w, row.role, static_cast<std::size_t>(expert)) =
            row.form == WeightForm::row ? constant(row.cols, bias ? 0.0f : 1.0f)
                                        : matrix(parts * row.rows, row.cols);
      });
  return w;
}

const LayerWeights& SyntheticWeights::layer(std::int64_t layer) {
  const bool with_experts = config_.moe_layer[static_cast<std::size_t>(layer)];
  const std::int64_t key = share_layers_ ? (with_experts ? 1 : 0) : layer;
  const auto found = layers_.find(key);
  if (found != layers_.end()) return found->second;
  return layers_.emplace(key, make(layer)).first->second;
}

}  // namespace indexcache
