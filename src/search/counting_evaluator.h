// SPDX-License-Identifier: Apache-2.0
// Counts what every request costs before it passes it on. Over a sweep it tells what a run did;
// over GuessingEvaluator, which computes nothing, what a run will do.
#pragma once

#include "search/evaluator.h"
#include "search/loss_table.h"
#include "search/workload.h"

namespace indexcache {

class CountingEvaluator : public Evaluator {
 public:
  // Adds to `workload` under the phase that `phase` has at the time of a request. The references
  // must outlive the evaluator; `planner` cuts sweeps as `inner` does.
  CountingEvaluator(Evaluator& inner, const SweepPlanner& planner, const Phase& phase,
                    Workload& workload);

  using Evaluator::losses;
  std::vector<SequenceLosses> losses(const LossRequest& request) override;

 private:
  Evaluator& inner_;
  const SweepPlanner& planner_;
  const Phase& phase_;
  Workload& workload_;
};

// Stands in for losses when only the work matters. The best candidate of a request is its middle
// one, which is as good a guess as any, and better than every earlier answer: what stops when
// nothing improves never stops early, so its work is an upper bound. A pattern keeps its answer.
class GuessingEvaluator : public Evaluator {
 public:
  explicit GuessingEvaluator(std::vector<double> weights);

  using Evaluator::losses;
  std::vector<SequenceLosses> losses(const LossRequest& request) override;

 private:
  LossTable answers_;
  double requests_ = 0;
};

}  // namespace indexcache
