// SPDX-License-Identifier: Apache-2.0
// What a journal says, line by line; every line is sealed with a checksum (io/sealed_line.h):
//
//   {"schema": "indexcache-journal/2", "fingerprint": {...}}
//   {"baseline": [losses of every sequence]}
//   {"step": 1, "first": 0, "candidates": [{"layer": 1, "losses": [...]}, ...]}   a finished wave:
//       losses of some sequences from `first` on, for every candidate of the step
//   {"step": 1, "removed": 3, "created": {...}}   the step is closed: all sequences are there
//
// Losses are hexadecimal floats: a resumed run continues from the same bits. "created" holds what
// no two runs share (the time).
#pragma once

#include "io/json.h"
#include "search/greedy.h"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

struct RecordedStep {
  std::size_t removed;
  std::vector<Candidate> candidates;  // `loss` is not filled in
  double seconds;
};

struct JournalState {
  std::optional<Json> fingerprint;  // an object; none in an empty journal
  std::optional<SequenceLosses> baseline;
  std::vector<RecordedStep> steps;
  // Of the step after those: what its finished waves measured. Empty where none is.
  std::vector<Candidate> unfinished;
  std::size_t lines = 0;
  std::size_t bytes = 0;  // of those lines
  bool torn = false;      // more followed: the mark of a kill or a crash in the middle of a write
};

// Throws InputError naming "where:line" when a line that others follow is damaged, or when lines
// contradict each other. A damaged last line is left out (torn).
JournalState read_journal(std::string_view text, const std::string& where);

// The lines, sealed and with their newline.
std::string header_line(const std::vector<std::pair<std::string, std::string>>& fingerprint);
std::string baseline_line(const SequenceLosses& losses);
// `losses[i]` are of candidate layers[i], for sequences from `first` on.
std::string wave_line(std::size_t step_index, std::size_t first,
                      const std::vector<std::size_t>& layers,
                      std::span<const SequenceLosses> losses);
std::string step_line(std::size_t step_index, const Step& step);

}  // namespace indexcache
