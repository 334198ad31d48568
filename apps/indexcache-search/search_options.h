// SPDX-License-Identifier: Apache-2.0
// The options that `run` and `plan` have in common.
#pragma once

#include "run/subject.h"

#include <CLI/CLI.hpp>

#include <string>

namespace indexcache {

// MODEL and the options of the device, of calibration data, of constraints, --holdout and --refine.
void add_search_options(CLI::App& command, SearchOptions& options, std::string& progress);

}  // namespace indexcache
