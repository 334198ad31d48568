// SPDX-License-Identifier: Apache-2.0
#include "distill/student_deal.h"

#include "core/balanced_ranges.h"

#include <algorithm>

namespace indexcache {
namespace {

// Products of an indexer for one (query, key) pair: scores, and twice the products and their
// gradients, for queries and for keys.
constexpr double kIndexerProducts = 5;

double student_operations(const ModelConfig& config) {
  return kIndexerProducts * static_cast<double>(config.index_heads * config.index_head_dim);
}

double teacher_operations(const ModelConfig& config) {
  return static_cast<double>(config.heads * config.latent_width());
}

}  // namespace

std::vector<std::vector<Student>> deal_students(const ModelConfig& config,
                                                const std::vector<Student>& students,
                                                std::size_t devices) {
  const double student = student_operations(config), teacher = teacher_operations(config);
  std::vector<std::size_t> begins;  // the first student of each one's layer
  for (std::size_t i = 0; i < students.size(); ++i) {
    const bool same = i > 0 && students[i - 1].layer == students[i].layer;
    begins.push_back(same ? begins.back() : i);
  }
  const auto added = [&](std::size_t i, std::size_t first) {
    // Layers up to here are taught already, or lie below all that is taught from now on. Of the
    // students of a layer, the last one has the highest end.
    std::size_t taught = students[i].layer;
    for (std::size_t s = i; s > first; s = std::max(begins[s - 1], first)) {
      taught = std::max(taught, students[s - 1].end);
    }
    return student + teacher * static_cast<double>(std::max(taught, students[i].end) - taught);
  };
  const std::vector<std::size_t> edges = balanced_ranges(students.size(), devices, added);
  std::vector<std::vector<Student>> parts;
  for (std::size_t p = 0; p + 1 < edges.size(); ++p) {
    parts.emplace_back(students.begin() + static_cast<std::ptrdiff_t>(edges[p]),
                       students.begin() + static_cast<std::ptrdiff_t>(edges[p + 1]));
  }
  return parts;
}

}  // namespace indexcache
