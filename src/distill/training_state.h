// SPDX-License-Identifier: Apache-2.0
// What a training needs to continue: one file, replaced atomically.
#pragma once

#include "core/fingerprint.h"
#include "distill/students.h"
#include "distill/training.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

struct TrainingState {
  std::int64_t wave = 0;           // sequences at once: it decides the order of sums
  double seconds = 0;              // of training so far
  std::vector<StageState> stages;  // those that are over, and the one at work
  StudentSet::State students;      // of the one at work; empty if the last one is over
};

// Throws ResourceError when the disk refuses; what was there before is then unchanged.
void write_training_state(const std::filesystem::path& file, const TrainingState& state,
                          const Fingerprint& fingerprint);

// The text of a state, which has everything but the tensors. Throws what read_training_state
// throws.
TrainingState parse_training_state(std::string_view text, const std::string& where,
                                   const Fingerprint& fingerprint, std::size_t students);

// nullopt if there is no such file. Throws ResumeMismatch for the state of another training,
// InputError for a file that is damaged or has other than `students` rows of `parameters` numbers.
std::optional<TrainingState> read_training_state(const std::filesystem::path& file,
                                                 const Fingerprint& fingerprint,
                                                 std::size_t students, std::int64_t parameters);

}  // namespace indexcache
