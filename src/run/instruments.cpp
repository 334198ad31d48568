// SPDX-License-Identifier: Apache-2.0
#include "run/instruments.h"

#include "core/error.h"

#include <numeric>
#include <utility>
#include <vector>

namespace indexcache {

void Instruments::begin(WorkPart part, std::string label) {
  part_ = part;
  label_ = std::move(label);
}

double Instruments::seconds_for(double) const {
  return 0;
}

void Instruments::count_baseline(const SweepPlanner& planner, const Pattern& baseline,
                                 std::int64_t query_step) {
  std::vector<std::size_t> all(planner.tokens().sequences.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  workload_.sweeps.push_back(count_sweep(planner, part_.phase, std::span(&baseline, 1), all,
                                         overlap_row_bytes(planner.config(), query_step)));
}

DeviceInstruments::DeviceInstruments(Session& session, const CalibrationData& data,
                                     Journal& journal, Progress& progress, double budget_seconds)
    : session_(session),
      data_(data),
      journal_(journal),
      progress_(progress),
      sweep_(evaluator(data.search)),
      counted_(sweep_, sweep_.planner(), part_, workload_),
      budget_(counted_, budget_seconds, BudgetEvaluator::Clock::now()),
      remembering_(
          budget_, journal.losses(),
          [&journal](std::span<const Pattern> patterns, std::span<const std::size_t> sequences,
                     std::span<const SequenceLosses> losses,
                     double seconds) { journal.record(patterns, sequences, losses, seconds); }) {}

SweepEvaluator DeviceInstruments::evaluator(const TokenSet& tokens) {
  SweepEvaluator sweep = session_.evaluator(tokens);
  sweep.set_progress(
      [this](std::size_t done, std::size_t total) { progress_.update(label_, done, total); });
  return sweep;
}

// The overlap is needed again after an interruption, and the losses of the same pass show that this
// machine computes the bits that the journal continues from.
OverlapPass DeviceInstruments::measure_baseline(const Pattern& baseline) {
  OverlapPass pass = measure_overlap(sweep_, session_.backend(), baseline);
  count_baseline(sweep_.planner(), baseline, pass.overlap.query_step);
  if (!journal_.baseline()) journal_.record_baseline(pass.losses);
  if (*journal_.baseline() == pass.losses) {
    journal_.losses().add(baseline, sweep_.all_sequences(), pass.losses);
    return pass;
  }
  throw ResumeMismatch(
      {"the run folder contains losses from a different machine or build", "the journal's baseline",
       "the all-Full losses differ in their last bits",
       "continue it on the machine where it began, or use another --output or --restart"});
}

Evaluator& DeviceInstruments::holdout() {
  if (!holdout_) {
    holdout_sweep_.emplace(evaluator(*data_.holdout));
    holdout_.emplace(*holdout_sweep_, holdout_sweep_->planner(), part_, workload_);
  }
  return *holdout_;
}

PlanningInstruments::PlanningInstruments(const ModelConfig& config, const Backend& backend,
                                         const CalibrationData& data, SweepMemory memory)
    : planner_(config, backend, data.search, memory),
      guess_(data.search.predicted()),
      counted_(guess_, planner_, part_, workload_),
      known_(data.search.sequences.size()),
      remembering_(counted_, known_) {
  if (!data.holdout) return;
  holdout_planner_.emplace(config, backend, *data.holdout, memory);
  holdout_guess_.emplace(data.holdout->predicted());
  holdout_.emplace(*holdout_guess_, *holdout_planner_, part_, workload_);
}

OverlapPass PlanningInstruments::measure_baseline(const Pattern& baseline) {
  OverlapPass pass;
  pass.losses = guess_.losses_of(baseline);
  known_.add(baseline, guess_.all_sequences(), pass.losses);
  pass.overlap.layers = baseline.layers();
  pass.overlap.query_step = overlap_query_step(planner_);
  count_baseline(planner_, baseline, pass.overlap.query_step);
  return pass;
}

}  // namespace indexcache
