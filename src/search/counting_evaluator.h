// SPDX-License-Identifier: Apache-2.0
// Counts what every request costs before it passes it on. Over a sweep it tells what a run did;
// over GuessingEvaluator, which computes nothing, what a run will do.
#pragma once

#include "search/evaluator.h"
#include "search/workload.h"

#include <utility>
#include <vector>

namespace indexcache {

class CountingEvaluator : public Evaluator {
 public:
  // Adds to `workload` under what `part` is at the time of a request. The references must outlive
  // the evaluator; `planner` cuts sweeps as `inner` does.
  CountingEvaluator(Evaluator& inner, const SweepPlanner& planner, const WorkPart& part,
                    Workload& workload);

  using Evaluator::losses;
  std::vector<SequenceLosses> losses(const LossRequest& request) override;

 private:
  Evaluator& inner_;
  const SweepPlanner& planner_;
  const WorkPart& part_;
  Workload& workload_;
};

// Stands in for losses when only the work matters. Sharing a layer costs more the farther it is
// from the F layer that feeds it, as in real models, so that every search takes a typical path.
class GuessingEvaluator : public Evaluator {
 public:
  explicit GuessingEvaluator(std::vector<double> weights) : Evaluator(std::move(weights)) {}

  using Evaluator::losses;
  std::vector<SequenceLosses> losses(const LossRequest& request) override;
};

}  // namespace indexcache
