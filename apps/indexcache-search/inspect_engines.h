// SPDX-License-Identifier: Apache-2.0
// What every serving engine makes of a config.json, side by side.
#pragma once

#include "io/json.h"

#include <string>
#include <vector>

namespace indexcache {

// [{"engine", "profile", "schedule", "decided_by", "failure", "remarks"}], the newest profile of
// each. `has_indexer` may be empty: which layers own one is then not known.
Json engine_readings(const Json& config, const Json& overrides,
                     const std::vector<bool>& has_indexer, const std::string& where);

// The readings, equal ones together, and a warning where they differ.
void print_readings(const Json& readings);

// `inspect` of a config.json without a checkpoint. `overrides` is JSON, or empty.
int inspect_config(const std::string& path, const std::string& overrides, bool json);

// JSON of --override, an empty object where there is none. Throws UsageError.
Json parse_overrides(const std::string& text);

}  // namespace indexcache
