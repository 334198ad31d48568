// SPDX-License-Identifier: Apache-2.0
// What a search has finished, on disk: one JSON object a line, synced before the next step begins.
//
//   line 1    {"schema": "indexcache-journal/1", "fingerprint": {...}}
//   line 2    {"baseline": [sequence losses]}
//   line n    {"step": 1, "removed": 3, "candidates": [{"layer": 1, "losses": [...]}, ...],
//              "created": {...}}
//
// Losses are hexadecimal floats: a resumed run continues from the same bits. "created" holds what
// no two runs share (the time). A torn last line, the mark of a kill, is dropped.
#pragma once

#include "search/greedy.h"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace indexcache {

// Everything that decides the numbers of a run, as (field, value); order matters.
using Fingerprint = std::vector<std::pair<std::string, std::string>>;

class Journal {
 public:
  // Opens or begins the journal and locks it against other processes. Throws ResumeMismatch naming
  // the first field that differs, InputError when the file is not a journal, ResourceError when it
  // cannot be written or another process holds it. `restart` discards what it holds.
  Journal(const std::filesystem::path& path, const Fingerprint& fingerprint, bool restart);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  const std::optional<SequenceLosses>& baseline() const { return baseline_; }
  std::size_t steps() const { return steps_.size(); }
  bool dropped_torn_line() const { return torn_; }

  void record_baseline(const SequenceLosses& losses);

  // The recorded step `index`, re-derived from its losses. Throws InputError when the journal
  // contradicts itself.
  std::optional<Step> replay(std::size_t index, const Pattern& before,
                             const Evaluator& evaluator) const;
  void record(std::size_t index, const Step& step);

 private:
  struct Recorded {
    std::size_t removed;
    std::vector<Candidate> candidates;  // `loss` not filled in
    double seconds;
  };

  void load(const Fingerprint& fingerprint);
  void parse_line(const std::string& line, std::size_t number, const Fingerprint& fingerprint);
  void append(const std::string& line);
  [[noreturn]] void fail(std::size_t line, const std::string& why) const;

  std::filesystem::path path_;
  int file_ = -1;
  bool torn_ = false;
  std::optional<SequenceLosses> baseline_;
  std::vector<Recorded> steps_;
};

}  // namespace indexcache
