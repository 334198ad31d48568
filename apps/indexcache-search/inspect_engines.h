// SPDX-License-Identifier: Apache-2.0
// How every serving engine reads a config.json, side by side.
#pragma once

#include "io/json.h"

#include <string>
#include <vector>

namespace indexcache {

// [{"engine", "read_in", "schedule", "decided_by", "failure", "remarks"}] by the newest profile of
// each engine. `has_indexer` is empty if it is not known which layers own an indexer.
Json engine_readings(const Json& config, const Json& overrides,
                     const std::vector<bool>& has_indexer, const std::string& where);

// Prints the readings with equal ones together, and a warning if they differ.
void print_readings(const Json& readings);

// `inspect` of a config.json without a checkpoint. `overrides` is JSON, or empty.
int inspect_config(const std::string& path, const std::string& overrides, bool json);

// The JSON object of --override, empty for an empty text. Throws UsageError.
Json parse_overrides(const std::string& text);

}  // namespace indexcache
