// SPDX-License-Identifier: Apache-2.0
// A time limit for a search, and its rate so far.
#pragma once

#include "search/evaluator.h"

#include <chrono>
#include <exception>

namespace indexcache {

// Thrown before a request that would not end within the budget. What was measured before stays.
class BudgetSpent : public std::exception {
 public:
  const char* what() const noexcept override { return "the time budget is spent"; }
};

class BudgetEvaluator : public Evaluator {
 public:
  using Clock = std::chrono::steady_clock;

  // The budget begins at `began`; 0 seconds: no limit.
  BudgetEvaluator(Evaluator& inner, double budget_seconds, Clock::time_point began);

  using Evaluator::losses;
  // Throws BudgetSpent, and what the inner evaluator throws.
  std::vector<SequenceLosses> losses(const LossRequest& request) override;

  // What evaluating so many patterns on all sequences takes at the rate of the requests so far; 0
  // before the first one.
  double seconds_for(double evaluations) const;

 private:
  // Predicted tokens of the sequences, of all patterns together.
  double work(const LossRequest& request) const;

  Evaluator& inner_;
  double budget_seconds_;
  Clock::time_point began_;
  double seconds_ = 0;
  double work_ = 0;
};

}  // namespace indexcache
