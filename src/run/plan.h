// SPDX-License-Identifier: Apache-2.0
// What a run needs and how long it takes, before it begins.
#pragma once

#include "io/json.h"
#include "run/distill_plan.h"
#include "run/scaling.h"
#include "run/session.h"
#include "run/subject.h"
#include "search/costs.h"
#include "search/workload.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

// The work of one strategy of a run.
struct StrategyPlan {
  std::string_view name;
  std::size_t steps = 0;
  std::int64_t evaluations = 0;
  std::int64_t layer_visits = 0;
  double seconds = 0;  // what the run takes longer because of it
};

struct RunPlan {
  Workload work;                         // of search_run over PlanningInstruments
  std::vector<StrategyPlan> strategies;  // in their order
  // False if the number of candidates depends on the losses (segments, bounded runs of S layers).
  bool exact = true;
  std::optional<double> race_confidence;  // counts are upper bounds of what races leave
  bool finds_size = false;                // --max-rise, whose searches for the size are not counted
  std::int64_t unshared_layer_visits = 0;  // of the search, evaluated one pattern at a time
  Placement placement = Placement::resident;
  WeightSizes weights;
  std::int64_t weight_bytes = 0;       // on the device
  std::int64_t streamed_bytes = 0;     // of weights that come to the device again for each pass
  std::int64_t host_weight_bytes = 0;  // in host memory, waiting or on their way
  std::int64_t host_token_bytes = 0;
  std::int64_t disk_bytes = 0;    // of the run folder, about
  std::int64_t device_limit = 0;  // bytes that may be planned with
  std::int64_t host_limit = 0;    // bytes that are available
  Costs costs;
  RunTime time;  // without the refinement, whose work depends on the data
  // Seconds of one round of the refinement that measures every move of every target. 0 without one.
  double refinement_seconds = 0;
  std::optional<TrainingPlan> training;  // of the indexers of segments, which comes first
  std::size_t sequences = 0;             // of the search
  double startup_seconds = 0;            // of this process before it planned
  bool measured = false;                 // costs are those of the model's first layers
  double speed = 1;                      // of the device, relative to what rates are known of
  int threads = 0;                       // of the CPU
  std::optional<Scaling> scaling;        // if it was asked for

  std::int64_t device_bytes() const { return weight_bytes + work.most_bytes_total(); }
  std::int64_t host_bytes() const { return host_weight_bytes + host_token_bytes; }
};

// Counts, sizes and estimated time, of one of `devices` devices. `speed` as in RunPlan. Throws
// ResourceError if the weights do not fit the device.
RunPlan make_plan(const Model& model, const SearchSubject& subject, const Device& backend,
                  const DeviceOptions& device, std::size_t devices = 1, double speed = 1);

// The same with costs measured on the model's first layers.
void probe(RunPlan& plan, const Model& model, const SearchSubject& subject, Backend& backend);

// Throws ResourceError naming the setting to change if the run does not fit.
void check_fits(const RunPlan& plan, const SearchSubject& subject);

// What a visit takes on sequences of these lengths: as measured, or estimated.
Costs costs_for(const RunPlan& plan, const ModelConfig& config,
                std::span<const std::int64_t> lengths, const Device& backend);

// The lines that `run` prints before it begins.
std::vector<std::string> plan_lines(const RunPlan& plan);

// Schema indexcache-plan/2 (docs/formats.md).
Json to_json(const RunPlan& plan);

}  // namespace indexcache
