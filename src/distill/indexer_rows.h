// SPDX-License-Identifier: Apache-2.0
// Parameters of several indexers on a device: a row each.
#pragma once

#include "backend/backend.h"
#include "model/config.h"
#include "model/weights.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace indexcache {

class IndexerRows {
 public:
  // The backend must outlive the object.
  IndexerRows(const ModelConfig& config, Backend& backend, std::size_t rows);

  std::int64_t columns() const { return columns_; }

  // f32 [rows, columns].
  const Tensor& parameters() const { return parameters_; }
  void set(std::span<const float> parameters);
  // After a change of parameters(): makes weights() follow.
  void round();

  // As a forward pass takes them: matrices in the backend's activation().
  IndexerWeights weights(std::size_t row) const;
  // The same parts of a row of another f32 tensor of this shape.
  IndexerWeights parts_of(const Tensor& tensor, std::size_t row) const;

  // Bytes on the device.
  static std::int64_t bytes(const ModelConfig& config, const Device& backend, std::size_t rows);

 private:
  IndexerWeights views(const Tensor& matrices, const Tensor& norms, std::size_t row) const;

  Backend& backend_;
  WeightTable parts_;  // of a row
  std::int64_t columns_;
  Tensor parameters_;
  Tensor rounded_;  // parameters_ in activation(); shares them if that is f32
};

// Weights of an indexer, in the order in which a row has them.
WeightTable indexer_parts(const ModelConfig& config);

// Parameters of one indexer of this shape.
std::int64_t indexer_parameters(const ModelConfig& config);

}  // namespace indexcache
