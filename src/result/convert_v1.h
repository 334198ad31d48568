// SPDX-License-Identifier: Apache-2.0
// Documents of schema /1 as documents of schema /2, one function each. What they do not change is
// checked by the reader of /2; what they do, here: InputError names the key as it is in the file.
#pragma once

#include "io/json_field.h"

#include <string>

namespace indexcache {

inline constexpr const char* kRunSchemaV1 = "indexcache-run/1";
inline constexpr const char* kPatternSchemaV1 = "indexcache-pattern/1";
inline constexpr const char* kDriftSchemaV1 = "indexcache-drift/1";

// The steps of the greedy search become a search path, `settings` its method and the constraints.
Json run_from_v1(const JsonField& run);

// `layers`, `search` and `result` become a target; numbers of single documents are dropped.
Json pattern_from_v1(const JsonField& document);

// Without shared layers there is no drop.
Json drift_from_v1(const JsonField& drift);

// Throws InputError if "layers.donor" of a pattern.yaml contradicts the pattern.
void check_donors_v1(const JsonField& layers, const std::string& pattern);

}  // namespace indexcache
