// SPDX-License-Identifier: Apache-2.0
// What a search has finished, on disk (journal_state.h): appended and synced wave by wave, before
// the next one begins. A torn last line, the mark of a kill, is dropped.
#pragma once

#include "core/fingerprint.h"
#include "search/journal_state.h"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace indexcache {

class Journal {
 public:
  // Opens or begins the journal and locks it against other processes. Throws ResumeMismatch naming
  // the first field that differs, InputError when the file is not a journal, ResourceError when it
  // cannot be written or another process holds it. `restart` discards what it holds.
  Journal(const std::filesystem::path& path, const Fingerprint& fingerprint, bool restart);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  const std::optional<SequenceLosses>& baseline() const { return state_.baseline; }
  std::size_t steps() const { return state_.steps.size(); }
  // Sequences of the step after those that are measured already.
  std::size_t sequences_of_next_step() const;
  bool dropped_torn_line() const { return state_.torn; }

  void record_baseline(const SequenceLosses& losses);

  // The recorded step `index`, re-derived from its losses. Throws InputError when the journal
  // contradicts itself.
  std::optional<Step> replay(std::size_t index, const Pattern& before,
                             const Evaluator& evaluator) const;
  // For the sweep of step `index`, whose candidates are `layers`: what its finished waves measured,
  // and where the others go. Valid as long as the journal.
  SweepLog log(std::size_t index, const std::vector<std::size_t>& layers);
  void record(std::size_t index, const Step& step);

 private:
  void load(const Fingerprint& fingerprint);
  void append(const std::string& line);
  [[noreturn]] void fail(std::size_t step_index, const std::string& why) const;

  std::filesystem::path path_;
  int file_ = -1;
  JournalState state_;
};

}  // namespace indexcache
