// SPDX-License-Identifier: Apache-2.0
#include "model/synthetic_weights.h"

#include "backend/scale_blocks.h"
#include "model/block_fp8.h"
#include "model/sizes.h"

#include <cmath>
#include <vector>

namespace indexcache {
namespace {

// Of uniform numbers with variance 1 / cols.
float amplitude(std::int64_t cols) {
  return std::sqrt(3.0f / static_cast<float>(cols));
}

// Of a row: norms and scales are 1, biases, bases of streams and sinks are 0.
float usual_value(WeightRole role) {
  using enum WeightRole;
  switch (role) {
    case index_k_norm_bias:
    case router_bias:
    case sinks:
    case head_stream_base:
    case attention_stream_base:
    case mlp_stream_base:
      return 0.0f;
    default:
      return 1.0f;
  }
}

// The first layer that has weights like those of `layer`.
std::int64_t first_alike(const ModelConfig& config, std::int64_t layer) {
  const auto alike = [&](std::int64_t other) {
    const auto a = static_cast<std::size_t>(layer), b = static_cast<std::size_t>(other);
    if (config.moe_layer[a] != config.moe_layer[b]) return false;
    if ((layer < config.hash_layers) != (other < config.hash_layers)) return false;
    return !config.compressed || config.compressed->ratios[a] == config.compressed->ratios[b];
  };
  std::int64_t first = 0;
  while (!alike(first)) ++first;
  return first;
}

bool has_fp8_products(const WeightRow& row) {
  return is_fp8_product(row) && fits_fp8_product(row);
}

}  // namespace

SyntheticWeights::SyntheticWeights(const ModelConfig& config, Device& backend, bool share_layers)
    : config_(config), backend_(backend), share_layers_(share_layers) {
  for (const WeightRow& row : config.family->outer_weights(config)) {
    member_of(outer_, row.role) = weight(row);
  }
  for (std::int64_t layer = 0; layer < config.layers; ++layer) SyntheticWeights::layer(layer);
}

std::int64_t SyntheticWeights::bytes_of(const ModelConfig& config, WeightTypes types,
                                        bool share_layers) {
  const auto bytes_of = [&](const WeightRow& row) {
    const bool fp8 = types.keeps_fp8 && has_fp8_products(row);
    const auto size = static_cast<std::int64_t>(size_of(device_type(row, types.activation)));
    return (fp8 ? 1 : size) * parameters_of({row});
  };
  std::int64_t bytes = 0;
  for (const WeightRow& row : config.family->outer_weights(config)) bytes += bytes_of(row);
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    if (share_layers && first_alike(config, layer) != layer) continue;
    for (const WeightRow& row : config.family->layer_weights(config, layer)) bytes += bytes_of(row);
  }
  return bytes;
}

Tensor SyntheticWeights::allocate(std::int64_t rows, std::int64_t cols, DType dtype) {
  bytes_ += rows * cols * static_cast<std::int64_t>(size_of(dtype));
  return backend_.allocate(rows, cols, dtype, Memory::weights);
}

Tensor SyntheticWeights::weight(const WeightRow& row) {
  if (row.form == WeightForm::row) return constant(row.cols, usual_value(row.role));
  if (row.form == WeightForm::table) return table(row);
  const std::int64_t rows = static_cast<std::int64_t>(row.names.size()) * row.rows;
  if (backend_.keeps_fp8() && has_fp8_products(row)) return fp8_matrix(rows, row.cols);
  return matrix(rows, row.cols, device_type(row, backend_.activation()));
}

Tensor SyntheticWeights::matrix(std::int64_t rows, std::int64_t cols, DType dtype) {
  Tensor tensor = allocate(rows, cols, dtype);
  backend_.fill_random(tensor, amplitude(cols), 0.0f, ++seed_);
  return tensor;
}

Tensor SyntheticWeights::fp8_matrix(std::int64_t rows, std::int64_t cols) {
  const Tensor scales = allocate(scale_blocks(rows), scale_blocks(cols), DType::f32);
  backend_.fill_random(scales, 0.0f, amplitude(cols) / kLargestE4m3, ++seed_);
  const Tensor numbers = allocate(rows, cols, DType::f8_e4m3);
  backend_.fill_random(numbers, kLargestE4m3, 0.0f, ++seed_);
  return numbers.with_scales(scales);
}

Tensor SyntheticWeights::constant(std::int64_t cols, float value) {
  Tensor tensor = allocate(1, cols, DType::f32);
  backend_.fill_random(tensor, 0.0f, value, ++seed_);
  return tensor;
}

// Different experts for each token.
Tensor SyntheticWeights::table(const WeightRow& row) {
  std::vector<std::int32_t> experts;
  for (std::int64_t i = 0; i < row.rows * row.cols; ++i) {
    experts.push_back(static_cast<std::int32_t>(i % config_.routed_experts));
  }
  bytes_ += row.rows * row.cols * static_cast<std::int64_t>(sizeof(std::int32_t));
  return backend_.upload(experts, row.rows, row.cols);
}

LayerWeights SyntheticWeights::make(std::int64_t layer) {
  const ModelConfig& c = config_;
  LayerWeights w;
  for_each_weight(c.family->layer_weights(c, layer),
                  [&](const WeightRow& row, std::int64_t expert) {
                    if (row.form == WeightForm::absorbed) {
                      const DType type = backend_.activation();
                      w.k_absorb = matrix(c.heads * c.kv_lora_rank, c.qk_nope_head_dim, type);
                      w.v_absorb = matrix(c.heads * c.v_head_dim, c.kv_lora_rank, type);
                      return;
                    }
                    member_of(w, row.role, static_cast<std::size_t>(expert)) = weight(row);
                  });
  return w;
}

const LayerWeights& SyntheticWeights::layer(std::int64_t layer) {
  const std::int64_t key = share_layers_ ? first_alike(config_, layer) : layer;
  const auto found = layers_.find(key);
  if (found != layers_.end()) return found->second;
  return layers_.emplace(key, make(layer)).first->second;
}

}  // namespace indexcache
