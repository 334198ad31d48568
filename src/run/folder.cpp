// SPDX-License-Identifier: Apache-2.0
#include "run/folder.h"

#include "core/error.h"
#include "core/log.h"
#include "io/files.h"
#include "io/json_text.h"
#include "io/log_file.h"
#include "io/png.h"
#include "io/system_failure.h"
#include "present/heatmap.h"
#include "present/page.h"
#include "present/report.h"
#include "result/overlap_file.h"
#include "result/result_json.h"
#include "result/stored_pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <unistd.h>

namespace indexcache {
namespace {

constexpr const char* kReport = "report.html";
constexpr const char* kOutputs[] = {"run.json", "overlap.h5", "heatmap.png", "pattern.yaml"};

// `error` is one of the system, or 0.
[[noreturn]] void fail(const std::filesystem::path& folder, const std::string& why, int error,
                       const std::string& option = "--output") {
  const std::string another = "choose another " + option;
  const auto remedy = resource_remedy(error, another);
  throw Error(remedy ? ExitCode::resource : ExitCode::input,
              {"the output folder cannot be used", folder.string(), why, remedy.value_or(another)});
}

bool is_output(const std::string& name) {
  return std::ranges::find(kOutputs, name) != std::end(kOutputs) || name == kReport ||
         name.starts_with("pattern-") || name == "journal.jsonl" || name == "drift.json" ||
         name == "distill.json" || name == "training.safetensors" || name == kStudentsFile;
}

// A temporary file that a kill in the middle of a write left.
bool is_leftover(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  const std::string output = name.substr(0, name.find(".tmp-"));
  return output != name && is_output(output);
}

// Nothing that is called like this is replaced, so logs may be in the folder of their run.
bool is_harmless(const std::filesystem::path& path) {
  return !is_output(path.filename().string()) && is_log(path);
}

void check_log_name(const std::filesystem::path& path) {
  if (!is_output(path.filename().string()) || !is_log_file(path.string())) return;
  throw InputError({"the log file cannot be used", path.string(),
                    "another file of the output folder has this name",
                    "choose another --log-file, such as log.jsonl in the same folder"});
}

// The folder, or the nearest one above it that exists.
std::filesystem::path existing_part(const std::filesystem::path& folder) {
  std::filesystem::path existing = std::filesystem::absolute(folder);
  std::error_code ignored;
  while (existing.has_relative_path() && !std::filesystem::exists(existing, ignored)) {
    existing = existing.parent_path();
  }
  return existing;
}

}  // namespace

void make_folder(const std::filesystem::path& folder, const std::string& option) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail(folder, error.message(), error.value(), option);
}

void check_folder(const std::filesystem::path& folder,
                  const std::initializer_list<const char*>& own_files) {
  const std::filesystem::path existing = existing_part(folder);
  if (!std::filesystem::is_directory(existing)) {
    fail(folder, fmt::format("{} is not a folder", existing.string()), 0);
  }
  if (access(existing.c_str(), W_OK | X_OK) != 0) fail(folder, std::strerror(errno), errno);
  if (!std::filesystem::exists(folder)) return;
  bool harmless = true;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    check_log_name(entry.path());
    harmless = harmless && (is_harmless(entry.path()) || is_leftover(entry.path()));
  }
  if (harmless) return;
  const bool own = std::ranges::any_of(
      own_files, [&](const char* name) { return std::filesystem::exists(folder / name); });
  if (!own) fail(folder, "it contains files that this tool did not write", 0);
}

void prepare_folder(const std::filesystem::path& folder,
                    const std::initializer_list<const char*>& own_files) {
  make_folder(folder);
  check_folder(folder, own_files);
}

std::optional<Result> finished_run(const std::filesystem::path& folder,
                                   const Fingerprint& fingerprint, const SearchSubject& subject) {
  for (const char* name : kOutputs) {
    if (!std::filesystem::exists(folder / name)) return std::nullopt;
  }
  Result result = read_result(folder);
  if (!result.complete || result.fingerprint != fingerprint ||
      result.settings != subject.settings()) {
    return std::nullopt;
  }
  // A run to another target may have failed after it wrote its patterns.
  for (std::size_t t = 0; t < result.targets.size(); ++t) {
    const std::size_t kept = result.targets[t].calibration.pattern.full_count();
    const auto pattern = folder / pattern_file_name(t, result.targets.size(), kept);
    if (!std::filesystem::exists(pattern) || read_file(pattern) != to_pattern_yaml(result, t)) {
      return std::nullopt;
    }
  }
  return result;
}

void discard_outputs(const std::filesystem::path& folder, std::size_t layers) {
  for (const char* name : kOutputs) std::filesystem::remove(folder / name);
  std::filesystem::remove(folder / kReport);
  for (std::size_t kept = 1; kept <= layers; ++kept) {
    std::filesystem::remove(folder / pattern_file_name(0, 2, kept));
    std::filesystem::remove_all(folder / distilled_folder_name(kept));
  }
  std::filesystem::remove(folder / kStudentsFile);
}

std::string distilled_folder_name(std::size_t kept) {
  return fmt::format("distilled-{}F", kept);
}

void remove_leftovers(const std::filesystem::path& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (is_leftover(entry.path())) std::filesystem::remove(entry.path());
  }
}

void write_outputs(const std::filesystem::path& folder, const Result& result,
                   const Overlap& overlap) {
  write_overlap(folder / "overlap.h5", overlap, result.model, result.calibration);
  write_png(folder / "heatmap.png", draw_heatmap(overlap, result.model.name, result.model.numbers));
  for (std::size_t t = 0; t < result.targets.size(); ++t) {
    const std::size_t kept = result.targets[t].calibration.pattern.full_count();
    write_file(folder / pattern_file_name(t, result.targets.size(), kept),
               to_pattern_yaml(result, t));
  }
  write_file(folder / kReport, report_html({result, overlap, {}, folder.filename().string()}));
  // Last: it is what makes a run finished.
  write_file(folder / "run.json", json_text(to_json(result), 1) + "\n");
}

void complete_report(const std::filesystem::path& folder) {
  if (std::filesystem::exists(folder / kReport)) return;
  write_file(folder / kReport, report_html(read_report(folder)));
}

}  // namespace indexcache
