// SPDX-License-Identifier: Apache-2.0
#include "distill/students.h"

#include "model/sizes.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace indexcache {
namespace {

// An indexer's parameters, in the order in which a row has them.
constexpr std::array kParts = {WeightRole::index_q, WeightRole::index_k, WeightRole::index_weights,
                               WeightRole::index_k_norm, WeightRole::index_k_norm_bias};

WeightTable parts_of(const ModelConfig& config) {
  const WeightTable table = config.family->layer_weights(config, 0);
  WeightTable parts;
  for (const WeightRole role : kParts) parts.push_back(row_of(table, role));
  return parts;
}

}  // namespace

std::vector<Student> students_of(const Pattern& pattern) {
  std::vector<Student> students;
  std::vector<std::size_t> full = pattern.full_layers();
  full.push_back(pattern.layers());
  for (std::size_t i = 0; i + 1 < full.size(); ++i) {
    if (full[i + 1] - full[i] > 1) students.push_back({full[i], full[i + 1]});
  }
  return students;
}

std::vector<Student> all_students(const std::vector<bool>& has_indexer) {
  std::vector<Student> students;
  for (const std::size_t layer : true_positions(has_indexer)) {
    for (std::size_t end = layer + 2; end <= has_indexer.size(); ++end) {
      students.push_back({layer, end});
    }
  }
  return students;
}

std::vector<bool> taught_layers(const std::vector<Student>& students, std::int64_t layers) {
  std::vector<bool> taught(static_cast<std::size_t>(layers), false);
  for (const Student& student : students) {
    for (std::size_t layer = student.layer; layer < student.end; ++layer) taught[layer] = true;
  }
  return taught;
}

std::int64_t indexer_parameters(const ModelConfig& config) {
  return parameters_of(parts_of(config));
}

TrainedIndexer indexer_of(const ModelConfig& config, std::size_t layer, const float* row) {
  TrainedIndexer indexer;
  indexer.layer = static_cast<std::int64_t>(layer);
  for (const WeightRow& part : parts_of(config)) {
    const std::int64_t elements = part.rows * part.cols;
    indexer_member(indexer, part.role).assign(row, row + elements);
    row += elements;
  }
  return indexer;
}

StudentSet::StudentSet(const Model& model, Backend& backend, std::vector<Student> students)
    : config_(model.config),
      backend_(backend),
      students_(std::move(students)),
      parts_(parts_of(model.config)),
      columns_(indexer_parameters(model.config)) {
  const auto rows = static_cast<std::int64_t>(students_.size());
  const auto make = [&] { return backend.allocate(rows, columns_, DType::f32, Memory::weights); };
  std::vector<float> values;
  TrainedIndexer stored;
  for (std::size_t i = 0; i < students_.size(); ++i) {
    const auto layer = static_cast<std::int64_t>(students_[i].layer);
    if (i == 0 || stored.layer != layer) {
      stored = read_indexer(model.config, model.checkpoint, layer);
    }
    for (const WeightRole role : kParts) {
      const std::vector<float>& part = indexer_member(stored, role);
      values.insert(values.end(), part.begin(), part.end());
    }
  }
  parameters_ = backend.upload(std::move(values), rows, columns_);
  gradients_ = make();
  mean_ = make();
  variance_ = make();
  clear_gradients();
  clear_moments();
  rounded_ = parameters_;
  if (backend.activation() != DType::f32) {
    rounded_ = backend.allocate(rows, columns_, backend.activation(), Memory::weights);
  }
  round_weights();
}

void StudentSet::round_weights() {
  if (rounded_.dtype() != DType::f32) backend_.convert(parameters_, rounded_);
}

IndexerWeights StudentSet::views(const Tensor& matrices, const Tensor& norms,
                                 std::size_t student) const {
  IndexerWeights weights;
  std::int64_t first = 0;
  for (const WeightRow& part : parts_) {
    const Tensor& from = part.form == WeightForm::row ? norms : matrices;
    const std::int64_t elements = part.rows * part.cols;
    indexer_member(weights, part.role) = from.row_range(static_cast<std::int64_t>(student), 1)
                                             .columns(first, elements)
                                             .as(part.rows, part.cols, from.dtype());
    first += elements;
  }
  return weights;
}

IndexerWeights StudentSet::weights(std::size_t student) const {
  return views(rounded_, parameters_, student);
}

IndexerWeights StudentSet::gradients(std::size_t student) const {
  return views(gradients_, gradients_, student);
}

std::vector<double> StudentSet::gradient_norms() const {
  std::vector<double> norms = backend_.squared_norms(gradients_);
  for (double& norm : norms) norm = std::sqrt(norm);
  return norms;
}

void StudentSet::update(const AdamStep& step) {
  backend_.adam(step, gradients_, mean_, variance_, parameters_);
  round_weights();
}

StudentSet::State StudentSet::state() const {
  return {backend_.download(parameters_), backend_.download(mean_), backend_.download(variance_)};
}

void StudentSet::restore(const State& state) {
  set_parameters(state.parameters);
  backend_.convert(backend_.upload(state.mean, mean_.rows(), columns_), mean_);
  backend_.convert(backend_.upload(state.variance, mean_.rows(), columns_), variance_);
}

void StudentSet::clear_moments() {
  backend_.fill_zero(mean_);
  backend_.fill_zero(variance_);
}

void StudentSet::set_parameters(const std::vector<float>& parameters) {
  backend_.convert(backend_.upload(parameters, parameters_.rows(), columns_), parameters_);
  round_weights();
}

std::int64_t StudentSet::bytes(const ModelConfig& config, const Device& backend,
                               std::size_t count) {
  const std::int64_t rounded = backend.activation() == DType::f32
                                   ? 0
                                   : static_cast<std::int64_t>(size_of(backend.activation()));
  return static_cast<std::int64_t>(count) * indexer_parameters(config) * (4 * 4 + rounded);
}

}  // namespace indexcache
