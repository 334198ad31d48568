// SPDX-License-Identifier: Apache-2.0
#include "run/instruments.h"

#include "core/error.h"

#include <algorithm>
#include <cmath>
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

namespace {

// What the search measures.
SweepGoal goal_of(const SearchSubject& subject) {
  SweepGoal goal{subject.objective, std::nullopt, subject.indexers.get()};
  if (subject.objective == Objective::kl) goal.reference = subject.space.start;
  return goal;
}

const TokenSet& tokens_of(const SearchSubject& subject, DataSide side) {
  return side == DataSide::search ? subject.data.search : *subject.data.holdout;
}

}  // namespace

DeviceInstruments::DeviceInstruments(Session& session, const SearchSubject& subject,
                                     Journal& journal, Progress& progress, double budget_seconds)
    : session_(session),
      subject_(subject),
      journal_(journal),
      progress_(progress),
      sweep_(evaluator(subject.data.search, goal_of(subject))),
      plain_(evaluator(subject.data.search, {Objective::loss, {}, subject.indexers.get()})),
      counted_(sweep_, sweep_.planner(), part_, workload_),
      counted_plain_(plain_, plain_.planner(), part_, workload_),
      budget_(counted_, budget_seconds, BudgetEvaluator::Clock::now()),
      remembering_(
          budget_, journal.losses(),
          [&journal](std::span<const Pattern> patterns, std::span<const std::size_t> sequences,
                     std::span<const SequenceLosses> losses,
                     double seconds) { journal.record(patterns, sequences, losses, seconds); }) {}

SpreadEvaluator DeviceInstruments::evaluator(const TokenSet& tokens, const SweepGoal& goal) {
  SpreadEvaluator sweep = session_.evaluator(tokens, goal);
  sweep.set_progress(
      [this](std::size_t done, std::size_t total) { progress_.update(label_, done, total); });
  return sweep;
}

bool losses_agree(const SequenceLosses& a, const SequenceLosses& b) {
  return std::ranges::equal(a, b, [](double x, double y) { return std::abs(x - y) <= kKindNats; });
}

// The overlap is needed again after an interruption, and the losses of the same pass show that this
// machine computes the bits that the journal continues from.
OverlapPass DeviceInstruments::measure_baseline(const Pattern& baseline) {
  OverlapPass pass = plain_.measure_overlap(baseline);
  count_baseline(plain_.planner(), baseline, pass.overlap.query_step);
  if (!journal_.baseline()) journal_.record_baseline(pass.losses);
  if (!repeats_bits() && losses_agree(*journal_.baseline(), pass.losses)) {
    pass.losses = *journal_.baseline();
  }
  if (*journal_.baseline() == pass.losses) {
    journal_.losses().add(baseline, sweep_.all_sequences(), start_values(baseline, pass.losses));
    return pass;
  }
  throw ResumeMismatch(
      {"the run folder contains losses from a different machine or build", "the journal's baseline",
       "the all-Full losses differ in their last bits",
       "continue it on the machine where it began, or use another --output or --restart"});
}

// A budget does not keep the search from its start.
SequenceLosses DeviceInstruments::start_values(const Pattern& baseline,
                                               const SequenceLosses& losses) {
  switch (subject_.objective) {
    case Objective::kl:
      return SequenceLosses(losses.size(), 0.0);
    case Objective::tail:
      return counted_.losses_of(baseline);
    case Objective::loss:
      break;
  }
  return losses;
}

Evaluator& DeviceInstruments::next_token_losses() {
  if (subject_.objective == Objective::loss) return remembering_;
  return counted_plain_;
}

FidelityPass DeviceInstruments::measure_fidelity(DataSide side, std::span<const Pattern> patterns) {
  SpreadEvaluator sweep = evaluator(
      tokens_of(subject_, side), {Objective::loss, subject_.space.start, subject_.indexers.get()});
  workload_.sweeps.push_back(
      count_sweep(sweep.planner(), part_.phase, patterns, sweep.all_sequences()));
  FidelityPass pass;
  pass.fidelity = sweep.measure_fidelity({patterns, sweep.all_sequences()}, pass.losses);
  pass.weights = sweep.weights();
  return pass;
}

PlanningInstruments::PlanningInstruments(const ModelConfig& config, const Device& backend,
                                         const SearchSubject& subject, SweepMemory memory)
    : config_(config),
      backend_(backend),
      subject_(subject),
      memory_(memory),
      planner_(config, backend, subject.data.search, memory, goal_of(subject).reference,
               subject.indexers.get()),
      plain_planner_(config, backend, subject.data.search, memory, std::nullopt,
                     subject.indexers.get()),
      guess_(subject.data.search.predicted()),
      counted_(guess_, planner_, part_, workload_),
      counted_plain_(guess_, plain_planner_, part_, workload_),
      known_(subject.data.search.sequences.size()),
      remembering_(counted_, known_) {}

Evaluator& PlanningInstruments::next_token_losses() {
  if (subject_.objective == Objective::loss) return remembering_;
  return counted_plain_;
}

FidelityPass PlanningInstruments::measure_fidelity(DataSide side,
                                                   std::span<const Pattern> patterns) {
  const TokenSet& tokens = tokens_of(subject_, side);
  const SweepPlanner planner(config_, backend_, tokens, memory_, subject_.space.start,
                             subject_.indexers.get());
  GuessingEvaluator guess(tokens.predicted());
  workload_.sweeps.push_back(count_sweep(planner, part_.phase, patterns, guess.all_sequences()));
  return {guess.losses(patterns), std::vector<std::optional<Fidelity>>(patterns.size()),
          guess.weights()};
}

OverlapPass PlanningInstruments::measure_baseline(const Pattern& baseline) {
  OverlapPass pass;
  pass.losses = guess_.losses_of(baseline);
  if (subject_.objective == Objective::tail) counted_.losses_of(baseline);
  known_.add(baseline, guess_.all_sequences(), pass.losses);
  pass.overlap.layers = baseline.layers();
  pass.overlap.query_step = overlap_query_step(plain_planner_);
  count_baseline(plain_planner_, baseline, pass.overlap.query_step);
  return pass;
}

}  // namespace indexcache
