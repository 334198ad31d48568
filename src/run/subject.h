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
  std::string refine;            // a Refinement's name; empty: none
};

struct SearchSubject {
  SearchSpace space;              // its targets are those of `requests`
  std::vector<Request> requests;  // by falling number of F layers, without duplicates
  const Strategy* strategy;
  const Refinement* refinement;  // null: none
  CalibrationData data;
  std::vector<std::string> warnings;

  // Of every path that a complete run finds, in order: the strategy searches once, the refinement
  // once per request.
  std::vector<std::string> methods() const;
};

// Checks everything that can be checked before a weight is read. Throws UsageError for a hold-out
// that is neither a file nor a share, and what Backend::check, make_constraints, make_requests and
// CalibrationLoader throw.
SearchSubject open_subject(const SearchOptions& options, const Model& model, const Backend& backend,
                           Progress& progress);

}  // namespace indexcache
