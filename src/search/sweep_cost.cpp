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

SweepEstimate SweepCost::of(std::span<const Pattern> patterns,
                            std::span<const std::size_t> sequences) {
  const SweepPlan plan = planner_.plan(patterns.size(), sequences);
  Visits visits;
  SweepEstimate estimate;
  const PatternGroups groups = planner_.groups(patterns, plan);
  for (const auto& group : groups) {
    const Visits own = count_visits(group, planner_.config().moe_layer, planner_.indexers());
    visits += own;
    estimate.visits +=
        plan.waves.size() * (static_cast<std::size_t>(own.stream_layers()) + group.size());
  }
  for (const std::size_t s : sequences) {
    estimate.seconds += seconds_of(visits, costs_of(s)) *
                        static_cast<double>(planner_.tokens().sequences[s].size());
  }
  const auto passes = static_cast<double>(plan.waves.size() * groups.size());
  estimate.seconds = std::max(estimate.seconds, passes * rates_.pass_seconds);
  return estimate;
}

}  // namespace indexcache
