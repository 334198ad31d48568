// SPDX-License-Identifier: Apache-2.0
// Whether shared layers still agree with their donors on new data (indexcache-drift/1,
// docs/formats.md).
#pragma once

#include "core/pattern.h"
#include "io/json.h"
#include "search/overlap.h"

#include <string>

namespace indexcache {

// Donor overlaps of `pattern` in the stored and in the new measurement, by layer and by position
// bucket; a drop is stored minus new, positive where they agree less than they did. Both must be of
// as many layers as the pattern. Buckets that one side lacks have null there.
Json compare_overlap(const Pattern& pattern, const Overlap& stored, const Overlap& now);

// The comparison as a table.
std::string drift_table(const Json& drift);

}  // namespace indexcache
