// SPDX-License-Identifier: Apache-2.0
// Random weights of a model's shape, made on the device: speed can be measured without a
// checkpoint.
#pragma once

#include "model/weights.h"

#include <cstdint>
#include <map>

namespace indexcache {

// Uniform numbers of variance 1 / fan-in, so that activations keep their size from layer to layer;
// norm weights are 1. A device that keeps FP8 weights gets those that an FP8 checkpoint would have
// (model/block_fp8.h), with equal scales. Every layer that can owns an indexer. With `share_layers`
// layers with the same table of weights are one set of them: a model of any depth then fits.
class SyntheticWeights : public WeightSource {
 public:
  SyntheticWeights(const ModelConfig& config, Device& backend, bool share_layers);

  const LayerWeights& layer(std::int64_t layer) override;
  std::int64_t bytes() const { return bytes_; }
  // The same from sizes alone, apart from norm weights and biases.
  static std::int64_t bytes_of(const ModelConfig& config, WeightTypes types, bool share_layers);

 private:
  Tensor weight(const WeightRow& row);
  Tensor matrix(std::int64_t rows, std::int64_t cols, DType dtype);
  Tensor fp8_matrix(std::int64_t rows, std::int64_t cols);
  Tensor allocate(std::int64_t rows, std::int64_t cols, DType dtype);
  Tensor constant(std::int64_t cols, float value);
  Tensor table(const WeightRow& row);
  LayerWeights make(std::int64_t layer);

  const ModelConfig& config_;
  Device& backend_;
  bool share_layers_;
  std::uint64_t seed_ = 0;
  std::int64_t bytes_ = 0;
  std::map<std::int64_t, LayerWeights> layers_;  // by layer, or by the first one that shares them
};

}  // namespace indexcache
