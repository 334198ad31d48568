// SPDX-License-Identifier: Apache-2.0
// Losses of patterns on any number of workers: the sweep evaluator of a session.
//
// A request is cut into tasks (sweep_cut.h), workers compute them (spread.h), and results are
// collected by pattern and sequence. By the law of batch invariance they have the same bits on any
// number of workers of one kind. One worker gets the whole request as one task.
#pragma once

#include "search/overlap_pass.h"
#include "search/spread.h"
#include "search/sweep_cost.h"
#include "search/sweep_plan.h"
#include "search/sweep_worker.h"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace indexcache {

class SpreadEvaluator : public Evaluator {
 public:
  // `planner` plans the sweeps of each worker, and `weights` are the tokens that the workers' goal
  // averages. Adds what workers do to `use`, which must outlive the evaluator.
  SpreadEvaluator(std::vector<std::unique_ptr<SweepWorker>> workers, SweepPlanner planner,
                  SweepRates rates, std::vector<double> weights, SpreadUse& use);

  using Evaluator::losses;

  // A part is done whenever a worker has finished a wave. Throws what SweepEvaluator throws.
  std::vector<SequenceLosses> losses(const LossRequest& request) override;
  // As SweepEvaluator::measure_fidelity.
  std::vector<std::optional<Fidelity>> measure_fidelity(const LossRequest& request,
                                                        std::vector<SequenceLosses>& losses);
  // Losses and overlap of all sequences, and what else is wanted.
  OverlapPass measure_overlap(const Pattern& pattern, const OverlapExtras& extras = {});

  const SweepPlanner& planner() const { return planner_; }
  void set_progress(SweepProgress progress) { progress_ = std::move(progress); }

 private:
  struct Computed;

  Computed compute(const LossRequest& request, const SweepExtras& extras);

  std::vector<std::unique_ptr<SweepWorker>> workers_;
  SweepPlanner planner_;
  SweepRates rates_;
  SpreadUse& use_;
  SweepProgress progress_;
};

}  // namespace indexcache
