// SPDX-License-Identifier: Apache-2.0
// Whether shared layers still agree with their donors on new data: drift.json (docs/formats.md).
#pragma once

#include "core/pattern.h"
#include "io/json.h"
#include "result/result.h"
#include "search/overlap.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

inline constexpr const char* kDriftSchema = "indexcache-drift/2";

// An overlap in [0, 1] in the stored and in the new measurement; absent if a measurement has no
// query there.
struct OverlapChange {
  std::optional<double> stored;
  std::optional<double> now;

  // Stored minus new: positive if they agree less than they did.
  std::optional<double> drop() const;

  bool operator==(const OverlapChange&) const = default;
};

// A shared layer and its donor.
struct LayerDrift {
  std::size_t layer;
  std::size_t donor;
  OverlapChange change;                    // over all queries: both are there
  std::vector<OverlapChange> by_position;  // [buckets]

  bool operator==(const LayerDrift&) const = default;
};

// The mean over shared layers of queries at positions below `end`.
struct PositionDrift {
  std::int64_t end;
  std::int64_t stored_queries;
  std::int64_t now_queries;
  OverlapChange change;

  bool operator==(const PositionDrift&) const = default;
};

struct Drift {
  std::filesystem::path file;  // that it was read from; empty if it has just been measured
  std::string tool_version;    // of the program that measured now
  std::int64_t numerics_version = 0;
  std::string run;                   // the folder of the stored run
  std::string stored_tokens_sha256;  // what its overlap was measured on
  TokenSummary tokens;               // what was measured now
  Pattern pattern;
  std::vector<LayerDrift> layers;  // of every shared layer, ascending
  std::vector<PositionDrift> by_position;

  // Over the shared layers; 0 if there are none.
  double mean_drop() const;
  // The layer that falls most, the first of equals; null if no layer is shared.
  const LayerDrift* largest() const;

  bool operator==(const Drift&) const = default;
};

// The layers and positions of a Drift: donor overlaps of `pattern` in both measurements, which must
// be of as many layers as the pattern. The other members are the caller's.
Drift compare_overlap(const Pattern& pattern, const Overlap& stored, const Overlap& now);

Json to_json(const Drift& drift);

// What to_json wrote, or a document of schema /1. Throws InputError naming `where` and the key.
Drift drift_from_json(const Json& document, const std::string& where);
Drift read_drift(const std::filesystem::path& path);

// The comparison as a table.
std::string drift_table(const Drift& drift, const LayerNumbers& numbers = {});

}  // namespace indexcache
