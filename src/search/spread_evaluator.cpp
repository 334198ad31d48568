// SPDX-License-Identifier: Apache-2.0
#include "search/spread_evaluator.h"

#include <algorithm>

namespace indexcache {

// The tasks of a request and what came of them.
struct SpreadEvaluator::Computed {
  std::vector<CutTask> cut;
  std::vector<SweepOutput> outputs;  // [cut]

  // Calls `place(task, position in the task's list, position in the request)` for every sequence.
  template <typename Place>
  void for_sequences(const LossRequest& request, const Place& place) {
    for (std::size_t t = 0; t < cut.size(); ++t) {
      for (std::size_t i = 0; i < cut[t].sequences.size(); ++i) {
        const auto found = std::ranges::find(request.sequences, cut[t].sequences[i]);
        place(t, i, static_cast<std::size_t>(found - request.sequences.begin()));
      }
    }
  }

  std::vector<SequenceLosses> losses(const LossRequest& request) {
    std::vector<SequenceLosses> result(request.patterns.size(),
                                       SequenceLosses(request.sequences.size()));
    for_sequences(request, [&](std::size_t t, std::size_t i, std::size_t at) {
      for (std::size_t p = 0; p < cut[t].patterns.size(); ++p) {
        result[cut[t].patterns[p]][at] = outputs[t].losses[p][i];
      }
    });
    return result;
  }
};

SpreadEvaluator::SpreadEvaluator(std::vector<std::unique_ptr<SweepWorker>> workers,
                                 SweepPlanner planner, SweepRates rates,
                                 std::vector<double> weights, SpreadUse& use)
    : Evaluator(std::move(weights)),
      workers_(std::move(workers)),
      planner_(std::move(planner)),
      rates_(std::move(rates)),
      use_(use) {}

SpreadEvaluator::Computed SpreadEvaluator::compute(const LossRequest& request,
                                                   const SweepExtras& extras) {
  SweepCost cost(planner_, rates_);
  Computed computed{SweepCutter(request.patterns, request.sequences, cost).cut(workers_.size()),
                    {}};
  std::vector<SweepTask> tasks;
  std::vector<SweepEstimate> estimates;
  for (const CutTask& task : computed.cut) {
    std::vector<Pattern> patterns;
    for (const std::size_t p : task.patterns) patterns.push_back(request.patterns[p]);
    tasks.push_back({std::move(patterns), task.sequences, extras});
    estimates.push_back(task.estimate);
  }
  SpreadReports reports{{}, progress_};
  if (request.part_done) {
    reports.part_done = [&](std::size_t task, const LossPart& part) {
      std::vector<std::size_t> patterns;
      for (const std::size_t p : part.patterns) patterns.push_back(computed.cut[task].patterns[p]);
      request.part_done({patterns, part.sequences, part.losses});
    };
  }
  computed.outputs = spread(workers_, tasks, estimates, reports, use_);
  return computed;
}

std::vector<SequenceLosses> SpreadEvaluator::losses(const LossRequest& request) {
  if (request.patterns.empty() || request.sequences.empty()) {
    return std::vector<SequenceLosses>(request.patterns.size());
  }
  return compute(request, {}).losses(request);
}

std::vector<std::optional<Fidelity>> SpreadEvaluator::measure_fidelity(
    const LossRequest& request, std::vector<SequenceLosses>& losses) {
  const std::int64_t first = planner_.config().first_selecting_position();
  FidelityMeter meter(request.patterns.size(), request.sequences.size(), first,
                      position_buckets(first, planner_.tokens().longest()));
  Computed computed = compute(request, {.fidelity = true});
  losses = computed.losses(request);
  computed.for_sequences(request, [&](std::size_t t, std::size_t i, std::size_t at) {
    const std::vector<std::size_t>& patterns = computed.cut[t].patterns;
    for (std::size_t p = 0; p < patterns.size(); ++p) {
      meter.set(patterns[p], at, std::move(computed.outputs[t].fidelity[p][i]));
    }
  });
  return meter.results();
}

OverlapPass SpreadEvaluator::measure_overlap(const Pattern& pattern, const OverlapExtras& extras) {
  const LossRequest request{std::span(&pattern, 1), all_sequences()};
  SweepExtras wanted{.overlap_step = overlap_query_step(planner_),
                     .along_queries = extras.along_queries != nullptr};
  if (extras.indexers != nullptr) wanted.compared = extras.indexers->method;
  Computed computed = compute(request, wanted);
  OverlapPass pass;
  pass.losses = computed.losses(request).front();
  for (const SweepOutput& output : computed.outputs) {
    pass.overlap += output.overlap;
    if (extras.along_queries != nullptr) *extras.along_queries += output.along_queries.value();
    if (extras.indexers != nullptr) *extras.indexers += output.indexers.value();
  }
  return pass;
}

}  // namespace indexcache
