// SPDX-License-Identifier: Apache-2.0
#include "result/stored_result.h"

#include "core/error.h"
#include "result/pattern_file.h"

#include <fmt/format.h>

#include <charconv>

namespace indexcache {
namespace {

constexpr const char* kRunSchema = "indexcache-run/1";
constexpr const char* kPatternSchema = "indexcache-pattern/1";

[[noreturn]] void fail(const std::filesystem::path& file, const std::string& why,
                       const std::string& remedy = "a run folder, run.json or pattern.yaml") {
  throw InputError({"not a result of this tool", file.string(), why, remedy});
}

// A member of an object, null where there is none.
Json member(const Json& json, const std::string& key) {
  return json.is_object() && json.contains(key) ? json[key] : Json();
}

std::optional<double> number(const Json& json) {
  if (!json.is_number()) return std::nullopt;
  return json.get<double>();
}

std::size_t count(const Json& json) {
  return json.is_number_unsigned() || (json.is_number_integer() && json >= 0)
             ? json.get<std::size_t>()
             : 0;
}

std::string text(const Json& json) {
  return json.is_string() ? json.get<std::string>() : "";
}

StoredHoldout holdout_of(const Json& measured, const Json& tokens) {
  StoredHoldout holdout{.tokens_sha256 = text(member(tokens, "sha256")),
                        .sequences = count(member(tokens, "sequences")),
                        .delta = number(member(measured, "delta")),
                        .upper = std::nullopt,
                        .worst = number(member(member(measured, "worst_sequence"), "delta")),
                        .worst_sequence = std::nullopt};
  const Json interval = member(measured, "delta_ci95");
  if (interval.is_array() && interval.size() == 2) holdout.upper = number(interval[1]);
  if (holdout.worst) {
    holdout.worst_sequence = count(member(member(measured, "worst_sequence"), "sequence"));
  }
  return holdout;
}

// A donor overlap for every shared layer, or none at all: a list with holes would pass a guard.
std::optional<std::vector<DonorOverlap>> complete(std::vector<DonorOverlap> donors,
                                                  const std::string& pattern) {
  std::size_t next = 0;
  for (std::size_t layer = 0; layer < pattern.size(); ++layer) {
    if (pattern[layer] != 'S') continue;
    if (next == donors.size() || donors[next].layer != layer) return std::nullopt;
    ++next;
  }
  if (next != donors.size()) return std::nullopt;
  return donors;
}

std::vector<DonorOverlap> donors_of_run(const Json& list) {
  std::vector<DonorOverlap> donors;
  if (!list.is_array()) return donors;
  for (const Json& entry : list) {
    if (const auto overlap = number(member(entry, "overlap"))) {
      donors.push_back({count(member(entry, "layer")), *overlap});
    }
  }
  return donors;
}

std::vector<DonorOverlap> donors_of_pattern(const Json& map) {
  std::vector<DonorOverlap> donors;
  if (!map.is_object()) return donors;
  for (const auto& [key, value] : map.items()) {
    std::size_t layer = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), layer);
    const auto overlap = number(value);
    if (error == std::errc() && *end == '\0' && overlap) donors.push_back({layer, *overlap});
  }
  return donors;
}

const Json& chosen_target(const Json& run, const std::string& target,
                          const std::filesystem::path& file) {
  const auto found = run.find("targets");
  if (found == run.end() || !found->is_array() || found->empty()) fail(file, "it has no targets");
  if (target.empty()) return found->back();
  std::string known;
  for (const Json& entry : *found) {
    const std::string request = text(member(entry, "request"));
    const std::string kept = member(entry, "kept").dump();
    if (request == target || kept == target) return entry;
    known += fmt::format("{}{} ({} F)", known.empty() ? "" : ", ", request, kept);
  }
  fail(file, fmt::format("it has no target \"{}\"; it has {}", target, known),
       "--target with one of those");
}

StoredResult from_run(const Json& run, const std::string& target,
                      const std::filesystem::path& file) {
  const Json& chosen = chosen_target(run, target, file);
  StoredResult result{.file = file,
                      .pattern = text(member(chosen, "pattern")),
                      .model = member(run, "model"),
                      .fingerprint = member(run, "fingerprint"),
                      .holdout = std::nullopt,
                      .donors = std::nullopt};
  const Json measured = member(chosen, "holdout");
  if (measured.is_object()) result.holdout = holdout_of(measured, member(run, "holdout"));
  result.donors = complete(donors_of_run(member(chosen, "donor_overlap")), result.pattern);
  return result;
}

StoredResult from_pattern(const Json& document, const std::filesystem::path& file) {
  StoredResult result{.file = file,
                      .pattern = text(member(document, "pattern")),
                      .model = member(document, "model"),
                      .fingerprint = member(document, "fingerprint"),
                      .holdout = std::nullopt,
                      .donors = std::nullopt};
  const Json measured = member(member(document, "result"), "holdout");
  if (measured.is_object()) result.holdout = holdout_of(measured, member(measured, "tokens"));
  result.donors = complete(donors_of_pattern(member(member(document, "layers"), "donor_overlap")),
                           result.pattern);
  return result;
}

std::filesystem::path result_file(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return path;
  for (const char* name : {"run.json", "pattern.yaml"}) {
    if (std::filesystem::exists(path / name)) return path / name;
  }
  fail(path, std::filesystem::exists(path / "journal.jsonl") ? "the run in it is not finished"
                                                             : "it holds no run");
}

}  // namespace

std::vector<bool> indexer_mask(const Json& model, std::size_t layers) {
  std::vector<bool> mask(layers, false);
  for (const Json& layer : model.at("indexer_layers")) {
    if (layer.is_number_unsigned() && layer < layers) mask[layer.get<std::size_t>()] = true;
  }
  return mask;
}

bool is_result(const std::filesystem::path& path) {
  return std::filesystem::is_directory(path) || std::filesystem::is_regular_file(path);
}

StoredResult read_result(const std::filesystem::path& path, const std::string& target) {
  const std::filesystem::path file = result_file(path);
  return result_of_document(read_document(file), target, file);
}

StoredResult result_of_document(const Json& document, const std::string& target,
                                const std::filesystem::path& file) {
  if (!document.is_object()) fail(file, "it holds no object");
  const Json schema = member(document, "schema");
  StoredResult result;
  if (schema == kRunSchema) {
    result = from_run(document, target, file);
  } else if (schema == kPatternSchema) {
    if (!target.empty()) fail(file, "--target chooses among those of a run", "the run folder");
    result = from_pattern(document, file);
  } else {
    fail(file, schema.is_null() ? "it has no key \"schema\""
                                : fmt::format("its schema is {}; this program reads {} and {}",
                                              schema.dump(), kRunSchema, kPatternSchema));
  }
  if (result.pattern.empty() || result.pattern.find_first_not_of("FS") != std::string::npos) {
    fail(file, fmt::format("its pattern is \"{}\"", result.pattern));
  }
  return result;
}

}  // namespace indexcache
