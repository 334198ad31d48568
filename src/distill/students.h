// SPDX-License-Identifier: Apache-2.0
// The indexers that are trained: their parameters, gradients and moments on a device.
//
// A student is an independent problem: its inputs are those of the frozen model, and no other
// student changes them. All of them have the same sizes, so each kind of number is one matrix with
// a row per student.
#pragma once

#include "backend/backend.h"
#include "core/pattern.h"
#include "distill/indexer_rows.h"
#include "model/config.h"
#include "model/model.h"
#include "model/stored_indexer.h"
#include "model/weights.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace indexcache {

// The indexer of `layer`, trained to select for the layers [layer, end).
struct Student {
  std::size_t layer;
  std::size_t end;

  std::size_t served() const { return end - layer; }
  friend auto operator<=>(const Student&, const Student&) = default;
};

// The F layers of a pattern that feed an S layer, in ascending order. The others would be trained
// only for themselves, which changes nothing (docs/distillation.md).
std::vector<Student> students_of(const Pattern& pattern);

// A student for every segment [layer, end) of at least two layers whose first layer has an indexer.
std::vector<Student> all_students(const std::vector<bool>& has_indexer);

// [layers] Whether some student serves the layer, and so learns from it.
std::vector<bool> taught_layers(const std::vector<Student>& students, std::int64_t layers);

class StudentSet {
 public:
  // Parameters are those of the checkpoint, in float32. Throws what read_indexer throws.
  StudentSet(const Model& model, Backend& backend, std::vector<Student> students);

  const std::vector<Student>& students() const { return students_; }
  std::size_t size() const { return students_.size(); }
  std::int64_t parameters_per_student() const { return rows_.columns(); }

  // As a forward pass takes them: matrices in the backend's activation().
  IndexerWeights weights(std::size_t student) const { return rows_.weights(student); }
  // Where gradients are added up; f32.
  IndexerWeights gradients(std::size_t student) const {
    return rows_.parts_of(gradients_, student);
  }

  void clear_gradients() { backend_.fill_zero(gradients_); }
  // Norm of the gradient of every student.
  std::vector<double> gradient_norms() const;
  // One step of Adam for all students, and new weights().
  void update(const AdamStep& step);

  // Master parameters and the optimizer's moments, f32 [students, parameters].
  struct State {
    std::vector<float> parameters, mean, variance;
  };
  State state() const;
  void restore(const State& state);
  // As before the first step of Adam.
  void clear_moments();
  // Only the parameters; the moments are left as they are.
  std::vector<float> parameters() const { return backend_.download(rows_.parameters()); }
  void set_parameters(std::span<const float> parameters) { rows_.set(parameters); }

  // Bytes on the device, of `count` students.
  static std::int64_t bytes(const ModelConfig& config, const Device& backend, std::size_t count);

 private:
  Backend& backend_;
  std::vector<Student> students_;
  IndexerRows rows_;
  Tensor gradients_, mean_, variance_;  // f32, as rows_
};

// One student's row of parameters as an indexer of `layer`.
TrainedIndexer indexer_of(const ModelConfig& config, std::size_t layer, const float* row);

}  // namespace indexcache
