// SPDX-License-Identifier: Apache-2.0
#include "distill/indexer_rows.h"

#include "model/sizes.h"

#include <array>

namespace indexcache {
namespace {

constexpr std::array kParts = {WeightRole::index_q, WeightRole::index_k, WeightRole::index_weights,
                               WeightRole::index_k_norm, WeightRole::index_k_norm_bias};

}  // namespace

WeightTable indexer_parts(const ModelConfig& config) {
  const WeightTable table = config.family->layer_weights(config, 0);
  WeightTable parts;
  for (const WeightRole role : kParts) parts.push_back(row_of(table, role));
  return parts;
}

std::int64_t indexer_parameters(const ModelConfig& config) {
  return parameters_of(indexer_parts(config));
}

IndexerRows::IndexerRows(const ModelConfig& config, Backend& backend, std::size_t rows)
    : backend_(backend), parts_(indexer_parts(config)), columns_(parameters_of(parts_)) {
  const auto make = [&](DType dtype) {
    return backend.allocate(static_cast<std::int64_t>(rows), columns_, dtype, Memory::weights);
  };
  parameters_ = make(DType::f32);
  rounded_ = backend.activation() == DType::f32 ? parameters_ : make(backend.activation());
}

void IndexerRows::set(std::span<const float> parameters) {
  backend_.convert(backend_.upload(std::vector<float>(parameters.begin(), parameters.end()),
                                   parameters_.rows(), columns_),
                   parameters_);
  round();
}

void IndexerRows::round() {
  if (rounded_.dtype() != DType::f32) backend_.convert(parameters_, rounded_);
}

IndexerWeights IndexerRows::views(const Tensor& matrices, const Tensor& norms,
                                  std::size_t row) const {
  IndexerWeights weights;
  std::int64_t first = 0;
  for (const WeightRow& part : parts_) {
    const Tensor& from = part.form == WeightForm::row ? norms : matrices;
    const std::int64_t elements = part.rows * part.cols;
    indexer_member(weights, part.role) = from.row_range(static_cast<std::int64_t>(row), 1)
                                             .columns(first, elements)
                                             .as(part.rows, part.cols, from.dtype());
    first += elements;
  }
  return weights;
}

IndexerWeights IndexerRows::weights(std::size_t row) const {
  return views(rounded_, parameters_, row);
}

IndexerWeights IndexerRows::parts_of(const Tensor& tensor, std::size_t row) const {
  return views(tensor, tensor, row);
}

std::int64_t IndexerRows::bytes(const ModelConfig& config, const Device& backend,
                                std::size_t rows) {
  const auto rounded = backend.activation() == DType::f32
                           ? std::size_t{0}
                           : static_cast<std::size_t>(size_of(backend.activation()));
  return static_cast<std::int64_t>(rows * (sizeof(float) + rounded)) * indexer_parameters(config);
}

}  // namespace indexcache
