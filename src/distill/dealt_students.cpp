// SPDX-License-Identifier: Apache-2.0
#include "distill/dealt_students.h"

#include "core/concurrently.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace indexcache {
namespace {

void append(std::vector<float>& to, const std::vector<float>& more) {
  to.insert(to.end(), more.begin(), more.end());
}

}  // namespace

DealtStudents::DealtStudents(const Model& model, const std::vector<Backend*>& backends,
                             const std::vector<std::vector<Student>>& parts)
    : config_(model.config), backends_(backends), firsts_{0}, busy_seconds_(parts.size(), 0.0) {
  for (std::size_t p = 0; p < parts.size(); ++p) {
    parts_.push_back(std::make_unique<StudentSet>(model, *backends[p], parts[p]));
    students_.insert(students_.end(), parts[p].begin(), parts[p].end());
    firsts_.push_back(students_.size());
  }
}

void DealtStudents::for_each_part(const std::function<void(std::size_t)>& work) {
  concurrently(parts(), [&](std::size_t p) {
    const auto begin = std::chrono::steady_clock::now();
    work(p);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    busy_seconds_[p] += taken.count();
  });
}

std::vector<float> DealtStudents::rows_of(const std::vector<float>& all, std::size_t p) const {
  const auto columns = static_cast<std::size_t>(parameters_per_student());
  const auto at = [&](std::size_t student) {
    return all.begin() + static_cast<std::ptrdiff_t>(student * columns);
  };
  return {at(firsts_[p]), at(firsts_[p + 1])};
}

std::vector<double> DealtStudents::gradient_norms() {
  std::vector<std::vector<double>> of_parts(parts());
  for_each_part([&](std::size_t p) { of_parts[p] = part(p).gradient_norms(); });
  std::vector<double> norms;
  for (const auto& some : of_parts) norms.insert(norms.end(), some.begin(), some.end());
  return norms;
}

void DealtStudents::update(const AdamStep& step) {
  for_each_part([&](std::size_t p) {
    AdamStep own = step;
    own.scales.assign(step.scales.begin() + static_cast<std::ptrdiff_t>(firsts_[p]),
                      step.scales.begin() + static_cast<std::ptrdiff_t>(firsts_[p + 1]));
    part(p).update(own);
  });
  follow();
}

StudentSet::State DealtStudents::state() {
  std::vector<StudentSet::State> of_parts(parts());
  for_each_part([&](std::size_t p) { of_parts[p] = part(p).state(); });
  StudentSet::State all;
  for (const StudentSet::State& own : of_parts) {
    append(all.parameters, own.parameters);
    append(all.mean, own.mean);
    append(all.variance, own.variance);
  }
  return all;
}

void DealtStudents::restore(const StudentSet::State& state) {
  for_each_part([&](std::size_t p) {
    part(p).restore(
        {rows_of(state.parameters, p), rows_of(state.mean, p), rows_of(state.variance, p)});
  });
  follow();
}

void DealtStudents::clear_moments() {
  for_each_part([&](std::size_t p) { part(p).clear_moments(); });
}

std::vector<float> DealtStudents::parameters() {
  std::vector<std::vector<float>> of_parts(parts());
  for_each_part([&](std::size_t p) { of_parts[p] = part(p).parameters(); });
  std::vector<float> all;
  for (const auto& own : of_parts) append(all, own);
  return all;
}

void DealtStudents::set_parameters(const std::vector<float>& parameters) {
  for_each_part([&](std::size_t p) { part(p).set_parameters(rows_of(parameters, p)); });
  follow();
}

void DealtStudents::share() {
  for (std::size_t p = 0; p < parts() && parts() > 1; ++p) {
    others_.push_back(
        std::make_unique<IndexerRows>(config_, *backends_[p], size() - part(p).size()));
  }
  follow();
}

// Students of other parts, in their order without the part's own.
void DealtStudents::follow() {
  if (others_.empty()) return;
  const std::vector<float> all = parameters();
  const std::ptrdiff_t columns = static_cast<std::ptrdiff_t>(parameters_per_student());
  for_each_part([&](std::size_t p) {
    std::vector<float> rows = all;
    rows.erase(rows.begin() + static_cast<std::ptrdiff_t>(firsts_[p]) * columns,
               rows.begin() + static_cast<std::ptrdiff_t>(firsts_[p + 1]) * columns);
    others_[p]->set(rows);
  });
}

IndexerWeights DealtStudents::weights(std::size_t p, std::size_t student) const {
  if (student < firsts_[p]) return others_[p]->weights(student);
  if (student < firsts_[p + 1]) return parts_[p]->weights(student - firsts_[p]);
  return others_[p]->weights(student - (firsts_[p + 1] - firsts_[p]));
}

}  // namespace indexcache
