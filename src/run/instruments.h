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
#include <span>
#include <string>
#include <vector>

namespace indexcache {

enum class DataSide { search, holdout };

// Nats per token by which losses may differ between devices of different kinds: far more than
// rounding does, and less than another model or other data.
inline constexpr double kKindNats = 0.02;
// Of the same sequences.
bool losses_agree(const SequenceLosses& a, const SequenceLosses& b);

struct FidelityPass {
  std::vector<SequenceLosses> losses;             // [patterns]
  std::vector<std::optional<Fidelity>> fidelity;  // [patterns]
  std::vector<double> weights;                    // predicted tokens of each sequence
};

class Instruments {
 public:
  virtual ~Instruments() = default;

  // One pass of the search sequences that yields their losses and the overlap of index sets.
  virtual OverlapPass measure_baseline(const Pattern& baseline) = 0;
  // Values of the objective on the search sequences; measures nothing twice. May throw BudgetSpent.
  virtual Evaluator& search() = 0;
  // The same; measures everything anew.
  virtual Evaluator& verification() = 0;
  // Next-token losses of the search sequences; measures them anew, except that it is search() if
  // they are the objective.
  virtual Evaluator& next_token_losses() = 0;
  // Next-token losses of the held-out or the search sequences, in one sweep, and how far the
  // predictions are from those of the baseline. Held-out sequences must exist.
  virtual FidelityPass measure_fidelity(DataSide side, std::span<const Pattern> patterns) = 0;

  // Names the work that follows: in counts by its part, in progress lines by its label.
  void begin(WorkPart part, std::string label);
  // Whether losses are measured: predictions from them mean something.
  virtual bool measures() const = 0;
  // Whether a loss has the same bits whenever it is measured.
  virtual bool repeats_bits() const { return true; }
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

// Computes on the devices of a session. Losses of the search are in the journal before they are
// used.
class DeviceInstruments : public Instruments {
 public:
  // The references must outlive the instruments; the budget (seconds, 0: none) begins at once.
  DeviceInstruments(Session& session, const SearchSubject& subject, Journal& journal,
                    Progress& progress, double budget_seconds);

  // Throws ResumeMismatch if the journal's baseline has other bits than this machine's, or with
  // devices of different kinds differs by more than they do.
  OverlapPass measure_baseline(const Pattern& baseline) override;
  Evaluator& search() override { return remembering_; }
  Evaluator& verification() override { return counted_; }
  Evaluator& next_token_losses() override;
  FidelityPass measure_fidelity(DataSide side, std::span<const Pattern> patterns) override;
  bool measures() const override { return true; }
  bool repeats_bits() const override { return !is_mixed(session_.kinds()); }
  double seconds_for(double evaluations) const override { return budget_.seconds_for(evaluations); }

 private:
  SpreadEvaluator evaluator(const TokenSet& tokens, const SweepGoal& goal);
  // The objective's values of the baseline, whose next-token losses are given.
  SequenceLosses start_values(const Pattern& baseline, const SequenceLosses& losses);

  Session& session_;
  const SearchSubject& subject_;
  Journal& journal_;
  Progress& progress_;
  SpreadEvaluator sweep_;
  SpreadEvaluator plain_;  // of next-token losses
  CountingEvaluator counted_;
  CountingEvaluator counted_plain_;
  BudgetEvaluator budget_;
  MemoEvaluator remembering_;
};

// Computes nothing and counts. Searches take a typical path, which is as good a guess as any; a
// refinement is counted as one round, in which nothing improves.
class PlanningInstruments : public Instruments {
 public:
  // `memory`: what a sweep may hold on the device that `backend` describes.
  PlanningInstruments(const ModelConfig& config, const Device& backend,
                      const SearchSubject& subject, SweepMemory memory);

  OverlapPass measure_baseline(const Pattern& baseline) override;
  Evaluator& search() override { return remembering_; }
  Evaluator& verification() override { return counted_; }
  Evaluator& next_token_losses() override;
  FidelityPass measure_fidelity(DataSide side, std::span<const Pattern> patterns) override;
  bool measures() const override { return false; }

 private:
  const ModelConfig& config_;
  const Device& backend_;
  const SearchSubject& subject_;
  SweepMemory memory_;
  SweepPlanner planner_;
  SweepPlanner plain_planner_;
  GuessingEvaluator guess_;
  CountingEvaluator counted_;
  CountingEvaluator counted_plain_;
  LossTable known_;
  MemoEvaluator remembering_;
};

}  // namespace indexcache
