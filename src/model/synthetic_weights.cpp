// SPDX-License-Identifier: Apache-2.0
#include "model/synthetic_weights.h"

#include <cmath>

namespace indexcache {

SyntheticWeights::SyntheticWeights(const ModelConfig& config, Backend& backend, bool share_layers)
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

MlpWeights SyntheticWeights::mlp(std::int64_t width) {
  return {matrix(2 * width, config_.hidden), matrix(config_.hidden, width)};
}

MoeWeights SyntheticWeights::moe() {
  MoeWeights weights{
      matrix(config_.routed_experts, config_.hidden), constant(config_.routed_experts, 0.0f), {}};
  for (std::int64_t e = 0; e < config_.routed_experts; ++e) {
    MlpWeights expert = mlp(config_.moe_intermediate);
    weights.experts.gate_up.push_back(std::move(expert.gate_up));
    weights.experts.down.push_back(std::move(expert.down));
  }
  return weights;
}

LayerWeights SyntheticWeights::make(bool with_experts) {
  const ModelConfig& c = config_;
  LayerWeights w;
  w.input_norm = constant(c.hidden, 1.0f);
  w.post_attention_norm = constant(c.hidden, 1.0f);
  w.q_a = matrix(c.q_lora_rank, c.hidden);
  w.q_a_norm = constant(c.q_lora_rank, 1.0f);
  w.q_b = matrix(c.heads * c.qk_head_dim(), c.q_lora_rank);
  w.kv_a = matrix(c.latent_width(), c.hidden);
  w.kv_a_norm = constant(c.kv_lora_rank, 1.0f);
  w.k_absorb = matrix(c.heads * c.kv_lora_rank, c.qk_nope_head_dim);
  w.v_absorb = matrix(c.heads * c.v_head_dim, c.kv_lora_rank);
  w.o = matrix(c.hidden, c.heads * c.v_head_dim);
  w.indexer = IndexerWeights{matrix(c.index_heads * c.index_head_dim, c.q_lora_rank),
                             matrix(c.index_head_dim, c.hidden), constant(c.index_head_dim, 1.0f),
                             constant(c.index_head_dim, 0.0f), matrix(c.index_heads, c.hidden)};
  if (with_experts) w.moe = moe();
  if (!with_experts) w.mlp = mlp(c.intermediate);
  if (with_experts && c.shared_experts > 0) w.mlp = mlp(c.shared_experts * c.moe_intermediate);
  return w;
}

const LayerWeights& SyntheticWeights::layer(std::int64_t layer) {
  const bool with_experts = config_.moe_layer[static_cast<std::size_t>(layer)];
  const std::int64_t key = share_layers_ ? (with_experts ? 1 : 0) : layer;
  const auto found = layers_.find(key);
  if (found != layers_.end()) return found->second;
  return layers_.emplace(key, make(with_experts)).first->second;
}

}  // namespace indexcache
