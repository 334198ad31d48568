// SPDX-License-Identifier: Apache-2.0
#include "search/journal.h"

#include "core/error.h"
#include "core/fingerprint_check.h"
#include "io/files.h"
#include "io/system_failure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace indexcache {
namespace {

Fingerprint stored_fingerprint(const Json& found) {
  Fingerprint stored;
  for (const auto& [field, value] : found.items()) {
    stored.emplace_back(field, value.is_string() ? value.get<std::string>() : "");
  }
  return stored;
}

}  // namespace

Journal::Journal(const std::filesystem::path& path, const Fingerprint& fingerprint, bool restart)
    : path_(path) {
  file_ = open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file_ < 0) fail(errno);
  try {
    if (flock(file_, LOCK_EX | LOCK_NB) != 0) {
      throw ResourceError({"the run folder is in use by another process", path.string(),
                           std::strerror(errno), "wait for it, or choose another --output"});
    }
    if (restart) cut(0);
    load(fingerprint);
  } catch (...) {
    close(file_);
    throw;
  }
}

Journal::~Journal() {
  close(file_);
}

void Journal::load(const Fingerprint& fingerprint) {
  state_ = read_journal(read_file(path_), path_.string());
  if (state_.fingerprint) {
    check_fingerprint(stored_fingerprint(*state_.fingerprint), fingerprint,
                      "the run folder contains a run with different settings", path_.string(),
                      "the same settings to continue it, another --output, or --restart to discard "
                      "it");
  }
  if (state_.torn) cut(state_.bytes);
  if (!state_.fingerprint) append(header_line(fingerprint));
}

void Journal::cut(std::size_t bytes) {
  if (ftruncate(file_, static_cast<off_t>(bytes)) != 0) fail(errno);
}

void Journal::append(const std::string& text) {
  int error = write_all(file_, text);
  if (error == 0 && fsync(file_) != 0) error = errno;
  if (error != 0) fail(error);
  ++state_.lines;
}

void Journal::fail(int error) const {
  throw ResourceError({"cannot write the journal", path_.string(), std::strerror(error),
                       resource_remedy(error).value_or("check the path and its permissions") +
                           "; then run the same command again: it continues"});
}

void Journal::record_baseline(const SequenceLosses& losses) {
  append(baseline_line(losses));
  state_.baseline = losses;
  state_.losses = LossTable(losses.size());
}

void Journal::record(std::span<const Pattern> patterns, std::span<const std::size_t> sequences,
                     std::span<const SequenceLosses> losses, double seconds) {
  append(losses_line(state_.lines + 1, patterns, sequences, losses, seconds));
  state_.seconds += seconds;
}

}  // namespace indexcache
