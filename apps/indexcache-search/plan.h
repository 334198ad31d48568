// SPDX-License-Identifier: Apache-2.0
// What a run needs and how long it takes, told before it begins.
#pragma once

#include "engine.h"
#include "search/costs.h"
#include "search_subject.h"

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

// Counts, sizes and estimated time.
PlanReport make_plan(const Model& model, const SearchSubject& subject, const Backend& backend,
                     const EngineOptions& engine);

// The same with costs measured on the model's first layers.
void probe(PlanReport& report, const Model& model, const SearchSubject& subject, Backend& backend);

// The lines that `run` tells before it begins.
std::vector<std::string> plan_lines(const PlanReport& report);

// Throws ResourceError naming the setting to change where the run does not fit.
void check_fits(const PlanReport& report, const SearchSubject& subject);

}  // namespace indexcache
