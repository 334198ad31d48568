// SPDX-License-Identifier: Apache-2.0
// Which students are trained on which of several devices.
#pragma once

#include "distill/students.h"
#include "model/config.h"

#include <cstddef>
#include <vector>

namespace indexcache {

// Consecutive students for each of at most `devices` devices, from the operations that students
// and the attention distributions of the layers that teach them take. `students` are sorted, so
// that those of one layer stay together as far as possible: they share distributions.
std::vector<std::vector<Student>> deal_students(const ModelConfig& config,
                                                const std::vector<Student>& students,
                                                std::size_t devices);

}  // namespace indexcache
