// SPDX-License-Identifier: Apache-2.0
#include "result/pattern_file.h"

#include "core/error.h"
#include "io/files.h"
#include "io/json_field.h"
#include "io/yaml.h"
#include "result/convert_v1.h"
#include "result/result_json.h"
#include "serving/pattern_forms.h"

#include <fmt/format.h>

namespace indexcache {
namespace {

[[noreturn]] void refuse_pattern(
    const std::filesystem::path& file, const std::string& why,
    const std::string& remedy = "a run folder, run.json or pattern.yaml") {
  throw InputError({"not a result of this tool", file.string(), why, remedy});
}

std::size_t chosen_target(const Result& result, const std::string& target,
                          const std::filesystem::path& file) {
  if (target.empty()) return result.targets.size() - 1;
  std::string known;
  for (std::size_t t = 0; t < result.targets.size(); ++t) {
    const std::string& request = result.targets[t].request;
    const std::size_t kept = result.targets[t].calibration.pattern.full_count();
    if (request == target || fmt::format("{}", kept) == target) return t;
    known += fmt::format("{}{} ({} F)", known.empty() ? "" : ", ", request, kept);
  }
  refuse_pattern(file, fmt::format("it has no target \"{}\"; it has {}", target, known),
                 "--target with one of those");
}

// The files that a folder may hold a pattern in, the most complete first.
std::optional<std::filesystem::path> file_in(const std::filesystem::path& folder,
                                             std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (std::filesystem::exists(folder / name)) return folder / name;
  }
  return std::nullopt;
}

std::filesystem::path result_file(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return path;
  if (const auto file = file_in(path, {"run.json", "pattern.yaml"})) return *file;
  refuse_pattern(path, std::filesystem::exists(path / "journal.jsonl")
                           ? "the run in this folder has not finished"
                           : "it contains no run");
}

}  // namespace

Json read_document(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  if (path.extension() == ".json") return parse_json(text, path.string());
  return parse_yaml(text, path.string());
}

bool has_schema(const Json& document) {
  return document.is_object() && document.contains("schema");
}

StoredPattern read_stored_pattern(const std::filesystem::path& path, const std::string& target) {
  const std::filesystem::path file = result_file(path);
  return stored_pattern_of_document(read_document(file), target, file);
}

StoredPattern stored_pattern_of_document(const Json& document, const std::string& target,
                                         const std::filesystem::path& file) {
  if (!document.is_object()) refuse_pattern(file, "it is not a JSON object");
  if (!has_schema(document)) refuse_pattern(file, "it has no key \"schema\"");
  if (is_run_document(document)) {
    const Result result = result_from_json(document, file.string());
    return stored_pattern(result, chosen_target(result, target, file), file);
  }
  if (!target.empty())
    refuse_pattern(file, "--target applies only to a run folder or run.json", "the run folder");
  return stored_pattern_from_json(document, file.string());
}

Pattern pattern_of_document(const Json& document, std::optional<std::size_t> layers,
                            const std::string& where) {
  if (has_schema(document)) {
    Pattern pattern = stored_pattern_of_document(document, "", where).pattern;
    if (layers) check_letters(pattern, *layers, where);
    return pattern;
  }
  if (!document.is_object() || !document.contains("pattern")) {
    return pattern_from_json(document, layers, where);
  }
  Pattern pattern = pattern_from_json(document["pattern"], layers, where);
  const JsonSource source{"the pattern file cannot be used", where,
                          "only the pattern, or a pattern.yaml that `run` wrote"};
  if (const auto shape = JsonField(document, source).find("layers")) {
    if (shape->json().is_object()) check_donors_v1(*shape, pattern.text());
  }
  return pattern;
}

Pattern read_pattern_file(const std::filesystem::path& path, std::optional<std::size_t> layers) {
  if (!std::filesystem::is_directory(path)) {
    return pattern_of_document(read_document(path), layers, path.string());
  }
  const auto file = file_in(path, {"run.json", "pattern.yaml", "config.json"});
  if (!file) {
    throw InputError({"the pattern file cannot be used", path.string(),
                      "the folder contains neither a finished run nor a config.json",
                      "a run folder, a pattern.yaml or run.json of this tool, or a pattern as " +
                          std::string(kPatternForms)});
  }
  return pattern_of_document(read_document(*file), layers, file->string());
}

}  // namespace indexcache
