// SPDX-License-Identifier: Apache-2.0
#include "search/counting_evaluator.h"

#include <cmath>
#include <utility>

namespace indexcache {

CountingEvaluator::CountingEvaluator(Evaluator& inner, const SweepPlanner& planner,
                                     const Phase& phase, Workload& workload)
    : Evaluator(inner.weights()),
      inner_(inner),
      planner_(planner),
      phase_(phase),
      workload_(workload) {}

std::vector<SequenceLosses> CountingEvaluator::losses(const LossRequest& request) {
  if (!request.patterns.empty() && !request.sequences.empty()) {
    workload_.sweeps.push_back(count_sweep(planner_, phase_, request.patterns, request.sequences));
  }
  return inner_.losses(request);
}

GuessingEvaluator::GuessingEvaluator(std::vector<double> weights)
    : Evaluator(std::move(weights)), answers_(all_sequences().size()) {}

std::vector<SequenceLosses> GuessingEvaluator::losses(const LossRequest& request) {
  // Below every loss of earlier requests, even those of the longest lists.
  constexpr double kFall = 1e6;
  requests_ += 1;
  const auto middle = static_cast<double>(request.patterns.size() / 2);
  std::vector<SequenceLosses> result;
  for (std::size_t p = 0; p < request.patterns.size(); ++p) {
    const double loss = std::abs(static_cast<double>(p) - middle) - kFall * requests_;
    const Pattern& pattern = request.patterns[p];
    for (const std::size_t sequence : answers_.missing(pattern, request.sequences)) {
      answers_.add(pattern, std::span(&sequence, 1), std::span(&loss, 1));
    }
    result.push_back(answers_.of(pattern, request.sequences));
  }
  if (request.part_done) request.part_done(request.sequences, result);
  return result;
}

}  // namespace indexcache
