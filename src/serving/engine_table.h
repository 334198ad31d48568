// SPDX-License-Identifier: Apache-2.0
// The table of serving engines. A new engine is one function in engine_table.cpp; a version that
// changes a rule is one more row of that function. serving/profile.h documents the columns.
#pragma once

#include "serving/profile.h"

#include <vector>

namespace indexcache {

// Every row, engine by engine, versions ascending.
std::vector<EngineProfile> engine_table();

}  // namespace indexcache
