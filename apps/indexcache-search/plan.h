// SPDX-License-Identifier: Apache-2.0
// What a run needs and how long it takes, told before it begins.
#pragma once

#include "calibration.h"
#include "engine.h"
#include "run_constraints.h"
#include "search/costs.h"

#include <string>
#include <vector>

namespace indexcache {

// What `plan` prints, and `run` in short.
struct PlanReport {
  RunPlan plan;
  Placement placement;
  WeightSizes weights;
  std::int64_t device_limit;  // bytes that may be planned with
  std::int64_t host_limit;    // bytes that are available
  Costs costs;
  RunTime time;
  std::size_t sequences;   // of the search
  double startup_seconds;  // of this process until it planned
};

// Counts, sizes and estimated time; `threads` as in --threads.
PlanReport make_plan(const Model& model, const Pattern& baseline, const Constraints& constraints,
                     const std::vector<Request>& targets, const CalibrationData& data,
                     const Backend& backend, const EngineOptions& engine);

// The same with costs measured on the model's first layers.
void probe(PlanReport& report, const Model& model, const CalibrationData& data, Backend& backend);

// The lines that `run` tells before it begins.
std::vector<std::string> plan_lines(const PlanReport& report);

// Throws ResourceError naming the setting to change where the run does not fit.
void check_fits(const PlanReport& report, const CalibrationData& data);

}  // namespace indexcache
