// SPDX-License-Identifier: Apache-2.0
// The sequences of a run: those that it searches on and those that it verifies on.
#pragma once

#include "calibration.h"
#include "engine.h"

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace indexcache {

// --holdout: a file, a share, or "auto".
void add_holdout_option(CLI::App& command, std::string& holdout);

// Throws UsageError for a hold-out that is none of these, and what CalibrationLoader throws.
CalibrationData load_run_data(const CalibrationOptions& calibration, const std::string& holdout,
                              const EngineOptions& engine, const Model& model, Progress& progress,
                              std::vector<std::string>& warnings);

}  // namespace indexcache
