// SPDX-License-Identifier: Apache-2.0
// What a run measures with: a device that computes losses, or a counter that stands in for it, so
// that the plan of a run is the run itself.
#pragma once

#include "core/progress.h"
#include "run/session.h"
#include "run/subject.h"
#include "search/budget_evaluator.h"
#include "search/counting_evaluator.h"
#include "search/journal.h"
#include "search/memo_evaluator.h"
#include "search/overlap_pass.h"
#include "search/workload.h"

#include <optional>
#include <string>

namespace indexcache {

class Instruments {
 public:
  virtual ~Instruments() = default;

  // One pass of the search sequences that yields their losses and the overlap of index sets.
  virtual OverlapPass measure_baseline(const Pattern& baseline) = 0;
  // Of the search sequences; measures nothing twice. May throw BudgetSpent.
  virtual Evaluator& search() = 0;
  // Of the search sequences; measures everything anew.
  virtual Evaluator& verification() = 0;
  // Of the held-out sequences, which must exist.
  virtual Evaluator& holdout() = 0;

  // Names the work that follows: in counts by its part, in progress lines by its label.
  void begin(WorkPart part, std::string label);
  // Whether losses are measured: predictions from them mean something.
  virtual bool measures() const = 0;
  // What evaluating so many patterns in the search takes; 0 if nothing is known.
  virtual double seconds_for(double evaluations) const;

  // What was asked for so far.
  const Workload& workload() const { return workload_; }

 protected:
  // Counts the pass that measures the baseline and keeps index sets of every `query_step`-th query.
  void count_baseline(const SweepPlanner& planner, const Pattern& baseline,
                      std::int64_t query_step);

  WorkPart part_;
  std::string label_;
  Workload workload_;
};

// Computes on a device. Losses of the search are in the journal before they are used.
class DeviceInstruments : public Instruments {
 public:
  // The references must outlive the instruments; the budget (seconds, 0: none) begins at once.
  DeviceInstruments(Session& session, const CalibrationData& data, Journal& journal,
                    Progress& progress, double budget_seconds);

  // Throws ResumeMismatch if the journal's baseline has other bits than this machine's.
  OverlapPass measure_baseline(const Pattern& baseline) override;
  Evaluator& search() override { return remembering_; }
  Evaluator& verification() override { return counted_; }
  Evaluator& holdout() override;
  bool measures() const override { return true; }
  double seconds_for(double evaluations) const override { return budget_.seconds_for(evaluations); }

 private:
  SweepEvaluator evaluator(const TokenSet& tokens);

  Session& session_;
  const CalibrationData& data_;
  Journal& journal_;
  Progress& progress_;
  SweepEvaluator sweep_;
  CountingEvaluator counted_;
  BudgetEvaluator budget_;
  MemoEvaluator remembering_;
  std::optional<SweepEvaluator> holdout_sweep_;
  std::optional<CountingEvaluator> holdout_;
};

// Computes nothing and counts. Searches take a typical path, which is as good a guess as any; a
// refinement is counted as one round, in which nothing improves.
class PlanningInstruments : public Instruments {
 public:
  // `memory`: what a sweep may hold on the device that `backend` describes.
  PlanningInstruments(const ModelConfig& config, const Backend& backend,
                      const CalibrationData& data, SweepMemory memory);

  OverlapPass measure_baseline(const Pattern& baseline) override;
  Evaluator& search() override { return remembering_; }
  Evaluator& verification() override { return counted_; }
  Evaluator& holdout() override { return *holdout_; }
  bool measures() const override { return false; }

 private:
  SweepPlanner planner_;
  GuessingEvaluator guess_;
  CountingEvaluator counted_;
  LossTable known_;
  MemoEvaluator remembering_;
  std::optional<SweepPlanner> holdout_planner_;
  std::optional<GuessingEvaluator> holdout_guess_;
  std::optional<CountingEvaluator> holdout_;
};

}  // namespace indexcache
