// SPDX-License-Identifier: Apache-2.0
#include "search/journal.h"

#include "core/created.h"
#include "core/error.h"
#include "io/files.h"
#include "io/json.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace indexcache {
namespace {

constexpr const char* kSchema = "indexcache-journal/1";
constexpr const char* kRestart = "--restart to begin again, or another --output";

Json losses_to_json(const SequenceLosses& losses) {
  Json list = Json::array();
  for (double loss : losses) list.push_back(hex_float(loss));
  return list;
}

std::optional<SequenceLosses> losses_from_json(const Json& list) {
  SequenceLosses losses;
  if (!list.is_array()) return std::nullopt;
  for (const Json& entry : list) {
    const auto value = entry.is_string() ? parse_hex_float(entry.get<std::string>()) : std::nullopt;
    if (!value) return std::nullopt;
    losses.push_back(*value);
  }
  return losses;
}

void check_fingerprint(const Json& found, const Fingerprint& wanted, const std::string& where) {
  for (const auto& [field, value] : wanted) {
    const std::string before =
        found.contains(field) && found[field].is_string() ? found[field].get<std::string>() : "";
    if (before == value) continue;
    throw ResumeMismatch({"the run folder holds a run with other settings", where,
                          fmt::format("{} was \"{}\" and is \"{}\" now", field, before, value),
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

void Journal::fail(std::size_t line, const std::string& why) const {
  throw InputError(
      {"the journal is damaged", fmt::format("{}:{}", path_.string(), line), why, kRestart});
}

void Journal::load(const Fingerprint& fingerprint) {
  const std::string text = read_file(path_);
  std::size_t begin = 0;
  std::size_t number = 0;
  for (std::size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    parse_line(text.substr(begin, end - begin), ++number, fingerprint);
  }
  torn_ = begin < text.size();
  if (torn_ && ftruncate(file_, static_cast<off_t>(begin)) != 0) {
    throw ResourceError({"cannot write a file", path_.string(), std::strerror(errno), kRestart});
  }
  if (number > 0) return;
  Json fields = Json::object();
  for (const auto& [field, value] : fingerprint) fields[field] = value;
  append(Json{{"schema", kSchema}, {"fingerprint", fields}}.dump());
}

void Journal::parse_line(const std::string& line, std::size_t number,
                         const Fingerprint& fingerprint) {
  const Json json = parse_json(line, fmt::format("{}:{}", path_.string(), number), kRestart);
  if (!json.is_object()) fail(number, "it is not an object");
  if (number == 1) {
    if (!json.contains("schema") || json["schema"] != kSchema || !json.contains("fingerprint")) {
      fail(number, fmt::format("it does not begin with schema {}", kSchema));
    }
    check_fingerprint(json["fingerprint"], fingerprint, path_.string());
    return;
  }
  if (number == 2) {
    if (json.contains("baseline")) baseline_ = losses_from_json(json["baseline"]);
    if (!baseline_) fail(number, "the losses of the baseline are expected here");
    return;
  }
  if (!json.contains("step") || json["step"] != steps_.size() + 1 || !json.contains("removed") ||
      !json["removed"].is_number_unsigned() || !json.contains("candidates") ||
      !json["candidates"].is_array()) {
    fail(number, fmt::format("step {} is expected here", steps_.size() + 1));
  }
  Recorded recorded{json["removed"].get<std::size_t>(), {}, 0};
  for (const Json& entry : json["candidates"]) {
    const bool complete = entry.is_object() && entry.contains("layer") &&
                          entry["layer"].is_number_unsigned() && entry.contains("losses");
    auto losses = complete ? losses_from_json(entry["losses"]) : std::nullopt;
    if (!losses || losses->size() != baseline_->size()) {
      fail(number, "a candidate's losses are malformed");
    }
    recorded.candidates.push_back({entry["layer"].get<std::size_t>(), std::move(*losses), 0});
  }
  if (json.contains("created") && json["created"].contains("seconds") &&
      json["created"]["seconds"].is_number()) {
    recorded.seconds = json["created"]["seconds"].get<double>();
  }
  steps_.push_back(std::move(recorded));
}

void Journal::append(const std::string& line) {
  const std::string text = line + "\n";
  std::size_t written = 0;
  while (written < text.size()) {
    const ssize_t count = write(file_, text.data() + written, text.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) break;
    written += static_cast<std::size_t>(count);
  }
  if (written == text.size() && fsync(file_) == 0) return;
  throw ResourceError({"cannot write the journal", path_.string(), std::strerror(errno),
                       "free space on that disk and run the same command again: it continues"});
}

void Journal::record_baseline(const SequenceLosses& losses) {
  append(Json{{"baseline", losses_to_json(losses)}}.dump());
  baseline_ = losses;
}

void Journal::record(std::size_t index, const Step& step) {
  Json candidates = Json::array();
  for (const Candidate& candidate : step.candidates) {
    candidates.push_back(
        Json{{"layer", candidate.layer}, {"losses", losses_to_json(candidate.losses)}});
  }
  Json created{{"at", created_time()}};
  if (const auto seconds = recorded_seconds(step.seconds)) created["seconds"] = *seconds;
  append(Json{{"step", index + 1},
              {"removed", step.removed},
              {"candidates", candidates},
              {"created", created}}
             .dump());
}

std::optional<Step> Journal::replay(std::size_t index, const Pattern& before,
                                    const Evaluator& evaluator) const {
  if (index >= steps_.size()) return std::nullopt;
  const Recorded& recorded = steps_[index];
  const std::size_t line = index + 3;
  std::vector<Candidate> candidates = recorded.candidates;
  for (Candidate& candidate : candidates) candidate.loss = evaluator.mean(candidate.losses);
  if (candidates.empty()) fail(line, "the step has no candidates");
  for (const Candidate& candidate : candidates) {
    if (candidate.layer == 0 || candidate.layer >= before.layers() ||
        !before.is_full(candidate.layer)) {
      fail(line, fmt::format("layer {} was no candidate", candidate.layer));
    }
  }
  Step step = choose(before, std::move(candidates));
  if (step.removed != recorded.removed) {
    fail(line, fmt::format("layer {} is recorded as removed, its losses say {}", recorded.removed,
                           step.removed));
  }
  step.seconds = recorded.seconds;
  return step;
}

}  // namespace indexcache
