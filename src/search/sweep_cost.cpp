// SPDX-License-Identifier: Apache-2.0
#include "search/sweep_cost.h"

#include <algorithm>
#include <utility>

namespace indexcache {
namespace {

double seconds_of(const Visits& visits, const Costs& costs) {
  double seconds = 0;
  for (std::size_t kind = 0; kind < 2; ++kind) {
    for (std::size_t v = 0; v < kVisits; ++v) {
      seconds += static_cast<double>(visits.counts[kind][v]) * costs.visit[kind][v];
    }
  }
  return seconds;
}

}  // namespace

SweepCost::SweepCost(const SweepPlanner& planner, SweepRates rates)
    : planner_(planner), rates_(std::move(rates)) {}

const Costs& SweepCost::costs_of(std::size_t sequence) {
  const auto length = static_cast<std::int64_t>(planner_.tokens().sequences[sequence].size());
  const auto found = known_.find(length);
  return found != known_.end() ? found->second
                               : known_.emplace(length, rates_.costs(length)).first->second;
}

PatternWork SweepCost::work_of(std::span<const Pattern> patterns) const {
  PatternWork work{patterns.size(), 0, {}, 0};
  for (const auto& group : planner_.groups(patterns, planner_.plan(patterns.size(), {}))) {
    const Visits own = count_visits(group, planner_.config().moe_layer, planner_.indexers());
    work.visits += own;
    work.steps += static_cast<std::size_t>(own.stream_layers()) + group.size();
    ++work.groups;
  }
  return work;
}

SweepEstimate SweepCost::of(const PatternWork& work, std::span<const std::size_t> sequences) {
  SweepEstimate estimate;
  for (const std::size_t s : sequences) {
    estimate.seconds += seconds_of(work.visits, costs_of(s)) *
                        static_cast<double>(planner_.tokens().sequences[s].size());
  }
  const std::size_t waves = planner_.plan(work.patterns, sequences).waves.size();
  estimate.visits = waves * work.steps;
  estimate.passes = waves * work.groups;
  estimate.seconds =
      std::max(estimate.seconds, static_cast<double>(estimate.passes) * rates_.pass_seconds);
  return estimate;
}

}  // namespace indexcache
