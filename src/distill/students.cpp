// SPDX-License-Identifier: Apache-2.0
#include "distill/students.h"

#include <algorithm>
#include <cmath>

namespace indexcache {

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

TrainedIndexer indexer_of(const ModelConfig& config, std::size_t layer, const float* row) {
  TrainedIndexer indexer;
  indexer.layer = static_cast<std::int64_t>(layer);
  for (const WeightRow& part : indexer_parts(config)) {
    const std::int64_t elements = part.rows * part.cols;
    indexer_member(indexer, part.role).assign(row, row + elements);
    row += elements;
  }
  return indexer;
}

StudentSet::StudentSet(const Model& model, Backend& backend, std::vector<Student> students)
    : backend_(backend),
      students_(std::move(students)),
      rows_(model.config, backend, students_.size()) {
  std::vector<float> values;
  TrainedIndexer stored;
  for (std::size_t i = 0; i < students_.size(); ++i) {
    const auto layer = static_cast<std::int64_t>(students_[i].layer);
    if (i == 0 || stored.layer != layer) {
      stored = read_indexer(model.config, model.checkpoint, layer);
    }
    for (const WeightRow& part : indexer_parts(model.config)) {
      const std::vector<float>& stored_part = indexer_member(stored, part.role);
      values.insert(values.end(), stored_part.begin(), stored_part.end());
    }
  }
  rows_.set(values);
  for (Tensor* tensor : {&gradients_, &mean_, &variance_}) {
    *tensor = backend.allocate(static_cast<std::int64_t>(size()), rows_.columns(), DType::f32,
                               Memory::weights);
  }
  clear_gradients();
  clear_moments();
}

std::vector<double> StudentSet::gradient_norms() const {
  std::vector<double> norms = backend_.squared_norms(gradients_);
  for (double& norm : norms) norm = std::sqrt(norm);
  return norms;
}

void StudentSet::update(const AdamStep& step) {
  backend_.adam(step, gradients_, mean_, variance_, rows_.parameters());
  rows_.round();
}

StudentSet::State StudentSet::state() const {
  return {parameters(), backend_.download(mean_), backend_.download(variance_)};
}

void StudentSet::restore(const State& state) {
  set_parameters(state.parameters);
  backend_.convert(backend_.upload(state.mean, mean_.rows(), mean_.cols()), mean_);
  backend_.convert(backend_.upload(state.variance, mean_.rows(), mean_.cols()), variance_);
}

void StudentSet::clear_moments() {
  backend_.fill_zero(mean_);
  backend_.fill_zero(variance_);
}

std::int64_t StudentSet::bytes(const ModelConfig& config, const Device& backend,
                               std::size_t count) {
  constexpr std::int64_t kOthers = 3 * sizeof(float);  // the gradient and two moments
  return IndexerRows::bytes(config, backend, count) +
         static_cast<std::int64_t>(count) * indexer_parameters(config) * kOthers;
}

}  // namespace indexcache
