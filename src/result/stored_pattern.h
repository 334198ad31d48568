// SPDX-License-Identifier: Apache-2.0
// One target of a result: what pattern.yaml (docs/formats.md) holds and what `check` and `export`
// read, be it from a pattern.yaml or from a run.json.
#pragma once

#include "io/json.h"
#include "result/result.h"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

namespace indexcache {

inline constexpr const char* kPatternSchema = "indexcache-pattern/2";

struct Baseline {
  Pattern pattern;
  double loss;  // nats per token, on the calibration data

  bool operator==(const Baseline&) const = default;
};

// A pattern, and what its file says of it. Everything but the pattern may be absent: people write
// such files too. Numbers of single sequences are left out.
struct StoredPattern {
  std::filesystem::path file;
  Pattern pattern;
  std::optional<Provenance> provenance;
  std::optional<ModelSummary> model;
  std::optional<Target> target;  // of `pattern`
  std::optional<Baseline> baseline;
  std::optional<TokenSummary> calibration;
  std::optional<Holdout> holdout;
  std::optional<Constraints> constraints;
  Fingerprint fingerprint;  // empty if the file has none

  bool operator==(const StoredPattern&) const = default;

  // Measured on held-out sequences, if the file has that.
  const Measured* held_out() const;
};

// The target at `index` of `result`, which was read from `file`.
StoredPattern stored_pattern(const Result& result, std::size_t index,
                             const std::filesystem::path& file);

// Content of pattern.yaml, with the keys that each serving engine takes.
Json to_json(const StoredPattern& stored);
std::string to_pattern_yaml(const Result& result, std::size_t index);

// What to_json wrote, or a document of schema /1. Throws InputError naming `where` and the key.
StoredPattern stored_pattern_from_json(const Json& document, const std::string& where);

// Name of the pattern file of target `index` of `count`: pattern.yaml for the last and smallest,
// pattern-<kept>F.yaml for the others.
std::string pattern_file_name(std::size_t index, std::size_t count, std::size_t kept);

}  // namespace indexcache
