// SPDX-License-Identifier: Apache-2.0
#include "search/counting_evaluator.h"

#include <utility>

namespace indexcache {
namespace {

// Of all layers together. Cubes: costs of real models jump after a few layers.
double cubed_distances(const Pattern& pattern) {
  double sum = 0;
  for (std::size_t layer = 0; layer < pattern.layers(); ++layer) {
    const auto distance = static_cast<double>(layer - pattern.donor(layer));
    sum += distance * distance * distance;
  }
  return sum;
}

}  // namespace

CountingEvaluator::CountingEvaluator(Evaluator& inner, const SweepPlanner& planner,
                                     const WorkPart& part, Workload& workload)
    : Evaluator(inner.weights()),
      inner_(inner),
      planner_(planner),
      part_(part),
      workload_(workload) {}

std::vector<SequenceLosses> CountingEvaluator::losses(const LossRequest& request) {
  if (!request.patterns.empty() && !request.sequences.empty()) {
    workload_.sweeps.push_back(
        count_sweep(planner_, part_.phase, request.patterns, request.sequences));
    workload_.sweeps.back().method = part_.method;
  }
  return inner_.losses(request);
}

std::vector<SequenceLosses> GuessingEvaluator::losses(const LossRequest& request) {
  std::vector<SequenceLosses> result;
  for (const Pattern& pattern : request.patterns) {
    result.emplace_back(request.sequences.size(), cubed_distances(pattern));
  }
  report_part(request, request.sequences, result);
  return result;
}

}  // namespace indexcache
