// SPDX-License-Identifier: Apache-2.0
#include "search/budget_evaluator.h"

#include <numeric>

namespace indexcache {

BudgetEvaluator::BudgetEvaluator(Evaluator& inner, double budget_seconds, Clock::time_point began)
    : Evaluator(inner.weights()), inner_(inner), budget_seconds_(budget_seconds), began_(began) {}

double BudgetEvaluator::work(const LossRequest& request) const {
  double tokens = 0;
  for (const std::size_t sequence : request.sequences) tokens += weights()[sequence];
  return tokens * static_cast<double>(request.patterns.size());
}

std::vector<SequenceLosses> BudgetEvaluator::losses(const LossRequest& request) {
  const double wanted = work(request);
  const auto begin = Clock::now();
  const std::chrono::duration<double> used = begin - began_;
  const double expected = work_ > 0 ? seconds_ / work_ * wanted : 0;
  if (budget_seconds_ > 0 && used.count() + expected > budget_seconds_) throw BudgetSpent();
  std::vector<SequenceLosses> result = inner_.losses(request);
  seconds_ += std::chrono::duration<double>(Clock::now() - begin).count();
  work_ += wanted;
  return result;
}

double BudgetEvaluator::seconds_for(double evaluations) const {
  if (work_ == 0) return 0;
  const double tokens = std::accumulate(weights().begin(), weights().end(), 0.0);
  return seconds_ / work_ * tokens * evaluations;
}

}  // namespace indexcache
