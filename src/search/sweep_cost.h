// SPDX-License-Identifier: Apache-2.0
// What a part of a request takes on one device: how requests are cut and dealt.
#pragma once

#include "search/costs.h"
#include "search/sweep_plan.h"
#include "search/visits.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace indexcache {

struct SweepEstimate {
  double seconds = 0;
  std::size_t visits = 0;  // units of progress, as SweepEvaluator counts them
  std::size_t passes = 0;  // over the layers
};

// Where estimates come from.
struct SweepRates {
  std::function<Costs(std::int64_t length)> costs;  // of a sequence of so many tokens
  double pass_seconds = 0;                          // to bring all weights to one device again
  std::size_t host_devices = 8;                     // that stream from the memory of one host
};

// What patterns cost on any sequences, in one request.
struct PatternWork {
  std::size_t patterns = 0;
  std::size_t groups = 0;  // that are swept together
  Visits visits;           // of all groups, each over all tokens
  std::size_t steps = 0;   // of progress, for each wave of sequences
};

// What streams of patterns cost on one sequence, in seconds.
struct StreamCosts {
  std::vector<double> full, shared;  // [L] where it runs the layer's indexer, and where it does not
  double loss = 0;
  std::size_t together = 1;  // patterns that share streams, at most
};

// Costs of one model's sweeps. What it has worked out it keeps, so one object should serve many
// requests.
class SweepCost {
 public:
  // `planner` must outlive the object.
  SweepCost(const SweepPlanner& planner, SweepRates rates);

  PatternWork work_of(std::span<const Pattern> patterns);
  // On some sequences: the time of the visits, or that of streaming if it is longer, and that of
  // the first layer of each pass, if so many workers do such work at the same time.
  SweepEstimate of(const PatternWork& work, std::span<const std::size_t> sequences,
                   std::size_t workers = 1);
  // Of so many patterns.
  StreamCosts streams(std::size_t patterns, std::size_t sequence);
  // Only that of the visits.
  double computing(const PatternWork& work, std::span<const std::size_t> sequences);

 private:
  const Costs& costs_of(std::int64_t length);
  std::int64_t length_of(std::size_t sequence) const;
  const SweepPlan& plan(std::size_t patterns);
  std::size_t waves(std::size_t patterns, std::span<const std::size_t> sequences);

  const SweepPlanner& planner_;
  SweepRates rates_;
  std::map<std::int64_t, Costs> known_;  // by length
  // What the planner said: patterns at a time of so many, and waves of sequences of these lengths.
  std::map<std::size_t, SweepPlan> plans_;
  std::map<std::pair<std::size_t, std::vector<std::int64_t>>, std::size_t> waves_;
};

}  // namespace indexcache
