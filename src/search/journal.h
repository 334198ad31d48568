// SPDX-License-Identifier: Apache-2.0
// The losses that a run has measured, on disk (journal_state.h): appended and synced wave by wave,
// before the next one begins. A torn last line, the mark of a kill, is dropped.
#pragma once

#include "core/fingerprint.h"
#include "search/journal_state.h"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>

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
  bool dropped_torn_line() const { return state_.torn; }

  // The losses of patterns that it holds; writable, so that MemoEvaluator can add what it recorded.
  // Sized by the baseline, which must be recorded first.
  LossTable& losses() { return state_.losses; }
  // Time that measuring them took, in this process and those that it continues.
  double seconds() const { return state_.seconds; }

  void record_baseline(const SequenceLosses& losses);
  // `losses` are [patterns][sequences]; they are not added to losses().
  void record(std::span<const Pattern> patterns, std::span<const std::size_t> sequences,
              std::span<const SequenceLosses> losses, double seconds);

 private:
  void load(const Fingerprint& fingerprint);
  void append(const std::string& line);
  void cut(std::size_t bytes);
  [[noreturn]] void fail(int error) const;

  std::filesystem::path path_;
  int file_ = -1;
  JournalState state_;
};

}  // namespace indexcache
