// SPDX-License-Identifier: Apache-2.0
// The students of a training, on one or several devices.
//
// Each device has consecutive students, and what is true of all of them is their concatenation: a
// training does not show on how many devices it runs. Devices work on threads of their own and wait
// for each other after every operation.
#pragma once

#include "distill/students.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace indexcache {

class DealtStudents {
 public:
  // `students` are dealt to the devices in `parts`, one for each backend, none of them empty; the
  // backends must outlive the object. Throws what StudentSet throws.
  DealtStudents(const Model& model, const std::vector<Backend*>& backends,
                const std::vector<std::vector<Student>>& parts);

  // All students.
  const std::vector<Student>& students() const { return students_; }
  std::size_t size() const { return students_.size(); }
  std::int64_t parameters_per_student() const { return parts_.front()->parameters_per_student(); }

  std::size_t parts() const { return parts_.size(); }
  StudentSet& part(std::size_t p) { return *parts_[p]; }

  // work(part) for each part, all at the same time. Throws what the first of them threw, after all
  // have ended.
  void for_each_part(const std::function<void(std::size_t part)>& work);
  // In for_each_part, by part.
  const std::vector<double>& busy_seconds() const { return busy_seconds_; }

  // As StudentSet, for all students; steps have a scale for each of them.
  std::vector<double> gradient_norms();
  void update(const AdamStep& step);
  StudentSet::State state();
  void restore(const StudentSet::State& state);
  void clear_moments();
  std::vector<float> parameters();
  void set_parameters(const std::vector<float>& parameters);

  // From now on each device has the weights of all students, as a pattern that runs needs them, and
  // they follow every change; until keep_apart().
  void share();
  void keep_apart() { others_.clear(); }
  // Of any student, on the device of a part, after share().
  IndexerWeights weights(std::size_t part, std::size_t student) const;

  // Bytes on the device of so many of all students, while they are shared.
  static std::int64_t shared_bytes(const ModelConfig& config, const Device& backend,
                                   std::size_t own, std::size_t all) {
    return IndexerRows::bytes(config, backend, all - own);
  }

 private:
  std::vector<float> rows_of(const std::vector<float>& all, std::size_t part) const;
  void follow();

  const ModelConfig& config_;
  std::vector<Backend*> backends_;
  std::vector<Student> students_;
  std::vector<std::unique_ptr<StudentSet>> parts_;
  std::vector<std::size_t> firsts_;                   // [parts + 1] the first student of each
  std::vector<std::unique_ptr<IndexerRows>> others_;  // [parts] students of other parts, if shared
  std::vector<double> busy_seconds_;
};

}  // namespace indexcache
