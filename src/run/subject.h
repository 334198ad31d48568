// SPDX-License-Identifier: Apache-2.0
// What a run searches for, and on which data.
#pragma once

#include "core/progress.h"
#include "run/calibration_data.h"
#include "run/session.h"
#include "run/targets.h"
#include "search/strategy.h"

#include <string>
#include <vector>

namespace indexcache {

// What decides a search, apart from where its result goes.
struct SearchOptions {
  DeviceOptions device;
  CalibrationOptions calibration;
  ConstraintOptions constraints;
  std::string holdout = "auto";  // a file, a share, or "auto"
  // Names of strategies, in their order, and of a refinement or "none".
  std::vector<std::string> strategies = default_strategies();
  std::string refine = "swap";
};

struct SearchSubject {
  SearchSpace space;              // its targets are those of `requests`
  std::vector<Request> requests;  // by falling number of F layers, without duplicates
  std::vector<const Strategy*> strategies;
  const Refinement* refinement;  // null: none
  CalibrationData data;
  std::vector<std::string> warnings;

  // Of every path that a complete run finds, in order: each strategy searches once, the refinement
  // once per request.
  std::vector<std::string> methods() const;
};

// Checks everything that can be checked before a weight is read. Throws UsageError for a hold-out
// that is neither a file nor a share, and what Backend::check, make_constraints, make_requests and
// CalibrationLoader throw.
SearchSubject open_subject(const SearchOptions& options, const Model& model, const Backend& backend,
                           Progress& progress);

}  // namespace indexcache
