// SPDX-License-Identifier: Apache-2.0
#include "model/weights.h"

#include "model/dequantize.h"
#include "model/tensor_registry.h"

#include <fmt/format.h>

#include <algorithm>

namespace indexcache {
namespace {

using Floats = std::vector<float>;

Floats slice(const Floats& values, std::int64_t first, std::int64_t count) {
  return {values.begin() + first, values.begin() + first + count};
}

}  // namespace

ModelWeights::ModelWeights(const ModelConfig& config, const Checkpoint& checkpoint,
                           const std::vector<bool>& has_indexer, Backend& backend,
                           std::int64_t resident_bytes)
    : config_(config),
      checkpoint_(checkpoint),
      has_indexer_(has_indexer),
      backend_(backend),
      layers_(static_cast<std::size_t>(config.layers)) {
  const ParameterCount count = parameter_count(config, checkpoint, has_indexer);
  const auto element = static_cast<std::int64_t>(size_of(backend.activation()));
  resident_ = element * count.total() <= resident_bytes;
  bytes_ = element * (count.outer + (resident_ ? count.layers : count.largest_layer));
  embedding_ = matrix("model.embed_tokens.weight");
  final_norm_ = row("model.norm.weight");
  lm_head_ = matrix("lm_head.weight");
}

Tensor ModelWeights::matrix(const std::string& name) {
  const auto& shape = checkpoint_.tensor(name).shape;
  if (!backend_.converts_stored()) {
    return backend_.upload_matrix(read_floats(config_, checkpoint_, name), shape[0], shape[1]);
  }
  Tensor tensor = backend_.allocate(shape[0], shape[1], backend_.activation(), Memory::weights);
  backend_.convert_stored(read_stored(config_, checkpoint_, name), tensor);
  return tensor;
}

// Two matrices of one shape, one above the other.
Tensor ModelWeights::stacked(const std::string& upper, const std::string& lower) {
  const auto& shape = checkpoint_.tensor(upper).shape;
  const std::int64_t rows = shape[0], cols = shape[1];
  if (!backend_.converts_stored()) {
    Floats values = read_floats(config_, checkpoint_, upper);
    const Floats below = read_floats(config_, checkpoint_, lower);
    values.insert(values.end(), below.begin(), below.end());
    return backend_.upload_matrix(std::move(values), 2 * rows, cols);
  }
  Tensor both = backend_.allocate(2 * rows, cols, backend_.activation(), Memory::weights);
  backend_.convert_stored(read_stored(config_, checkpoint_, upper), both.row_range(0, rows));
  backend_.convert_stored(read_stored(config_, checkpoint_, lower), both.row_range(rows, rows));
  return both;
}

Tensor ModelWeights::row(const std::string& name) {
  Floats values = read_floats(config_, checkpoint_, name);
  const auto count = static_cast<std::int64_t>(values.size());
  return backend_.upload(std::move(values), 1, count);
}

MlpWeights ModelWeights::mlp(const std::string& prefix) {
  return {stacked(prefix + "gate_proj.weight", prefix + "up_proj.weight"),
          matrix(prefix + "down_proj.weight")};
}

IndexerWeights ModelWeights::indexer(std::int64_t layer) {
  const std::string prefix = layer_prefix(layer) + "self_attn.indexer.";
  return {matrix(prefix + "wq_b.weight"), matrix(prefix + "wk.weight"),
          row(prefix + "k_norm.weight"), row(prefix + "k_norm.bias"),
          matrix(prefix + "weights_proj.weight")};
}

ExpertWeights ModelWeights::split_fused_experts(std::int64_t layer) {
  const std::int64_t hidden = config_.hidden, width = config_.moe_intermediate;
  const Floats gate_up = read_floats(config_, checkpoint_, fused_gate_up_name(layer));
  const Floats down =
      read_floats(config_, checkpoint_, layer_prefix(layer) + "mlp.experts.down_proj");
  ExpertWeights experts;
  for (std::int64_t e = 0; e < config_.routed_experts; ++e) {
    experts.gate_up.push_back(backend_.upload_matrix(
        slice(gate_up, e * 2 * width * hidden, 2 * width * hidden), 2 * width, hidden));
    experts.down.push_back(
        backend_.upload_matrix(slice(down, e * hidden * width, hidden * width), hidden, width));
  }
  return experts;
}

MoeWeights ModelWeights::moe(std::int64_t layer) {
  const std::string prefix = layer_prefix(layer) + "mlp.";
  MoeWeights weights;
  weights.gate = matrix(prefix + "gate.weight");
  const std::string bias = correction_bias_name(layer);
  weights.correction_bias =
      checkpoint_.contains(bias)
          ? row(bias)
          : backend_.upload(Floats(static_cast<std::size_t>(config_.routed_experts), 0.0f), 1,
                            config_.routed_experts);
  if (checkpoint_.contains(fused_gate_up_name(layer))) {
    weights.experts = split_fused_experts(layer);
    return weights;
  }
  for (std::int64_t e = 0; e < config_.routed_experts; ++e) {
    MlpWeights expert = mlp(fmt::format("{}experts.{}.", prefix, e));
    weights.experts.gate_up.push_back(std::move(expert.gate_up));
    weights.experts.down.push_back(std::move(expert.down));
  }
  return weights;
}

// kv_b [A, dn + dv, rk]: its key rows move to the query side, its value rows behind the attention.
void ModelWeights::absorb(const std::string& name, LayerWeights& weights) {
  const std::int64_t nope = config_.qk_nope_head_dim, value = config_.v_head_dim;
  const std::int64_t rank = config_.kv_lora_rank;
  const Floats kv_b = read_floats(config_, checkpoint_, name);
  Floats keys, values;
  keys.reserve(static_cast<std::size_t>(config_.heads * rank * nope));
  for (std::int64_t head = 0; head < config_.heads; ++head) {
    const float* rows = kv_b.data() + head * (nope + value) * rank;
    for (std::int64_t r = 0; r < rank; ++r) {
      for (std::int64_t d = 0; d < nope; ++d) keys.push_back(rows[d * rank + r]);
    }
    values.insert(values.end(), rows + nope * rank, rows + (nope + value) * rank);
  }
  weights.k_absorb = backend_.upload_matrix(std::move(keys), config_.heads * rank, nope);
  weights.v_absorb = backend_.upload_matrix(std::move(values), config_.heads * value, rank);
}

LayerWeights ModelWeights::load(std::int64_t layer) {
  const std::string prefix = layer_prefix(layer);
  const std::string attention = prefix + "self_attn.";
  LayerWeights w;
  w.input_norm = row(prefix + "input_layernorm.weight");
  w.post_attention_norm = row(prefix + "post_attention_layernorm.weight");
  w.q_a = matrix(attention + "q_a_proj.weight");
  w.q_a_norm = row(attention + "q_a_layernorm.weight");
  w.q_b = matrix(attention + "q_b_proj.weight");
  w.kv_a = matrix(attention + "kv_a_proj_with_mqa.weight");
  w.kv_a_norm = row(attention + "kv_a_layernorm.weight");
  absorb(attention + "kv_b_proj.weight", w);
  w.o = matrix(attention + "o_proj.weight");
  const auto index = static_cast<std::size_t>(layer);
  if (has_indexer_[index]) w.indexer = indexer(layer);
  const bool routed = config_.moe_layer[index];
  if (routed) w.moe = moe(layer);
  if (!routed) w.mlp = mlp(prefix + "mlp.");
  if (routed && config_.shared_experts > 0) w.mlp = mlp(prefix + "mlp.shared_experts.");
  return w;
}

// The device only says that some number is not finite; the host names the tensor.
void ModelWeights::check_finite(std::int64_t layer) const {
  const bool fused = checkpoint_.contains(fused_gate_up_name(layer));
  for (const auto& specs :
       {outer_tensors(config_), attention_tensors(config_, layer), indexer_tensors(config_, layer),
        feed_forward_tensors(config_, layer, fused)}) {
    for (const TensorSpec& spec : specs) {
      if (checkpoint_.contains(spec.name)) read_floats(config_, checkpoint_, spec.name);
    }
  }
}

const LayerWeights& ModelWeights::layer(std::int64_t layer) {
  auto& slot = layers_[static_cast<std::size_t>(layer)];
  if (slot) return *slot;
  if (!resident_) {
    for (auto& other : layers_) other.reset();
  }
  slot = load(layer);
  if (!backend_.stored_are_finite()) check_finite(layer);
  return *slot;
}

ParameterCount parameter_count(const ModelConfig& config, const Checkpoint& checkpoint,
                               const std::vector<bool>& has_indexer) {
  const auto elements = [&](const std::vector<TensorSpec>& specs) {
    std::int64_t sum = 0;
    for (const TensorSpec& spec : specs) sum += checkpoint.tensor(spec.name).elements();
    return sum;
  };
  ParameterCount count;
  count.outer = elements(outer_tensors(config));
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const bool fused = checkpoint.contains(fused_gate_up_name(layer));
    std::int64_t here = elements(attention_tensors(config, layer)) +
                        elements(feed_forward_tensors(config, layer, fused));
    if (has_indexer[static_cast<std::size_t>(layer)]) {
      here += elements(indexer_tensors(config, layer));
    }
    count.layers += here;
    count.largest_layer = std::max(count.largest_layer, here);
  }
  return count;
}

}  // namespace indexcache
