// SPDX-License-Identifier: Apache-2.0
// What `run` and `plan` have in common: their options, and the search that these describe.
#pragma once

#include "calibration.h"
#include "engine.h"
#include "run_constraints.h"

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace indexcache {

// What decides a search, beside where its result goes.
struct SearchOptions {
  EngineOptions engine;
  CalibrationOptions calibration;
  ConstraintOptions constraints;
  std::string holdout = "auto";  // a file, a share, or "auto"
};

// MODEL and the options of the engine, of calibration data, of constraints, and --holdout.
void add_search_options(CLI::App& command, SearchOptions& options);

// What is searched for, on what.
struct SearchSubject {
  Pattern baseline;  // what the search begins with
  Constraints constraints;
  std::vector<Request> targets;  // by falling number of F layers, without duplicates
  CalibrationData data;
  std::vector<std::string> warnings;
};

// Checks everything that can be checked before a weight is read. Throws UsageError for a hold-out
// that is none, and what Backend::check, make_constraints, make_requests and CalibrationLoader
// throw.
SearchSubject open_subject(const SearchOptions& options, const Model& model, const Backend& backend,
                           Progress& progress);

}  // namespace indexcache
