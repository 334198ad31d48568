// SPDX-License-Identifier: Apache-2.0
#include "search/journal.h"

#include "core/error.h"
#include "io/files.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace indexcache {
namespace {

constexpr const char* kRestart = "--restart to start over, or another --output";

void check_fingerprint(const Json& found, const Fingerprint& wanted, const std::string& where) {
  for (const auto& [field, value] : wanted) {
    const std::string before =
        found.contains(field) && found[field].is_string() ? found[field].get<std::string>() : "";
    if (before == value) continue;
    throw ResumeMismatch({"the run folder contains a run with different settings", where,
                          fmt::format("{} was \"{}\" and is now \"{}\"", field, before, value),
                          "the same settings to continue it, another --output, or --restart to "
                          "discard it"});
  }
}

}  // namespace

Journal::Journal(const std::filesystem::path& path, const Fingerprint& fingerprint, bool restart)
    : path_(path) {
  file_ = open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file_ < 0) {
    throw ResourceError(
        {"cannot write a file", path.string(), std::strerror(errno), "choose another --output"});
  }
  try {
    if (flock(file_, LOCK_EX | LOCK_NB) != 0) {
      throw ResourceError({"the run folder is in use by another process", path.string(),
                           std::strerror(errno), "wait for it, or choose another --output"});
    }
    if (restart && ftruncate(file_, 0) != 0) {
      throw ResourceError({"cannot write a file", path.string(), std::strerror(errno), kRestart});
    }
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
  if (state_.fingerprint) check_fingerprint(*state_.fingerprint, fingerprint, path_.string());
  if (state_.torn && ftruncate(file_, static_cast<off_t>(state_.bytes)) != 0) {
    throw ResourceError({"cannot write a file", path_.string(), std::strerror(errno), kRestart});
  }
  if (!state_.fingerprint) append(header_line(fingerprint));
}

void Journal::append(const std::string& text) {
  std::size_t written = 0;
  while (written < text.size()) {
    const ssize_t count = write(file_, text.data() + written, text.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) break;
    written += static_cast<std::size_t>(count);
  }
  if (written == text.size() && fsync(file_) == 0) {
    ++state_.lines;
    return;
  }
  throw ResourceError({"cannot write the journal", path_.string(), std::strerror(errno),
                       "free space on that disk and run the same command again: it continues"});
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
