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

// Devices that stream at the same time are slower by this factor times their number: two H200s took
// 1.5 times as long as one (docs/scaling.md).
constexpr double kHostShare = 0.75;

}  // namespace

SweepCost::SweepCost(const SweepPlanner& planner, SweepRates rates)
    : planner_(planner), rates_(std::move(rates)) {}

std::int64_t SweepCost::length_of(std::size_t sequence) const {
  return static_cast<std::int64_t>(planner_.tokens().sequences[sequence].size());
}

const Costs& SweepCost::costs_of(std::int64_t length) {
  const auto found = known_.find(length);
  return found != known_.end() ? found->second
                               : known_.emplace(length, rates_.costs(length)).first->second;
}

std::size_t SweepCost::waves(std::size_t patterns, std::span<const std::size_t> sequences) {
  std::vector<std::int64_t> lengths;
  for (const std::size_t s : sequences) lengths.push_back(length_of(s));
  const auto [found, is_new] = waves_.try_emplace({patterns, std::move(lengths)});
  if (is_new) found->second = planner_.plan(patterns, sequences).waves.size();
  return found->second;
}

const SweepPlan& SweepCost::plan(std::size_t patterns) {
  const auto [found, is_new] = plans_.try_emplace(patterns);
  if (is_new) found->second = planner_.plan(patterns, {});
  return found->second;
}

PatternWork SweepCost::work_of(std::span<const Pattern> patterns) {
  PatternWork work{patterns.size(), 0, {}, 0};
  for (const auto& group : planner_.groups(patterns, plan(patterns.size()))) {
    const Visits own = count_visits(group, planner_.config(), planner_.indexers());
    work.visits += own;
    work.steps += static_cast<std::size_t>(own.stream_layers()) + group.size();
    ++work.groups;
  }
  return work;
}

StreamCosts SweepCost::streams(std::size_t patterns, std::size_t sequence) {
  const std::int64_t length = length_of(sequence);
  const auto seconds = [&](std::size_t kind, Visit visit) {
    return costs_of(length).visit[kind][static_cast<std::size_t>(visit)] *
           static_cast<double>(length);
  };
  StreamCosts stream;
  stream.together = plan(patterns).patterns - planner_.reference_count();
  // A layer that has no letter counts with the next one that has one.
  const ModelConfig& config = planner_.config();
  double before = 0;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const std::size_t kind = config.kind_of(layer);
    if (!config.selects(layer)) {
      before += seconds(kind, Visit::shared);
      continue;
    }
    stream.full.push_back(before + seconds(kind, Visit::full));
    stream.shared.push_back(before + seconds(kind, Visit::shared));
    before = 0;
  }
  stream.loss = before + seconds(0, Visit::loss);
  return stream;
}

double SweepCost::computing(const PatternWork& work, std::span<const std::size_t> sequences) {
  double seconds = 0;
  for (const std::size_t s : sequences) {
    const std::int64_t length = length_of(s);
    seconds += seconds_of(work.visits, costs_of(length)) * static_cast<double>(length);
  }
  return seconds;
}

SweepEstimate SweepCost::of(const PatternWork& work, std::span<const std::size_t> sequences,
                            std::size_t workers) {
  const std::size_t waves_of_all = waves(work.patterns, sequences);
  SweepEstimate estimate{computing(work, sequences), waves_of_all * work.steps,
                         waves_of_all * work.groups};
  const auto sharing = static_cast<double>(std::min(workers, rates_.host_devices));
  const double streaming = static_cast<double>(estimate.passes) * rates_.pass_seconds *
                           std::max(1.0, kHostShare * sharing);
  // Nothing is computed while the first layer of a pass arrives.
  estimate.seconds = std::max(estimate.seconds, streaming) +
                     streaming / static_cast<double>(planner_.config().layers);
  return estimate;
}

}  // namespace indexcache
