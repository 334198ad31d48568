// SPDX-License-Identifier: Apache-2.0
#include "run/search_run.h"

#include "core/error.h"
#include "present/target_text.h"
#include "search/baselines.h"
#include "search/segments.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <utility>

namespace indexcache {
namespace {

// A pattern that was reached, and the method that reached it.
struct Reached {
  PathStep step;
  std::string method;
};

class SearchRun {
 public:
  SearchRun(const SearchSubject& subject, Instruments& instruments, Progress& progress,
            const ExpectedWork& expected)
      : subject_(subject),
        instruments_(instruments),
        progress_(progress),
        expected_(expected),
        requests_(subject.requests) {}

  SearchOutcome execute() {
    measure_baseline();
    try {
      search();
      refine();
    } catch (const BudgetSpent&) {
      end_early();
    }
    verify();
    if (subject_.data.holdout) hold_out();
    return std::move(outcome_);
  }

 private:
  void measure_baseline() {
    instruments_.begin({Phase::baseline}, "overlap and loss with every indexer");
    OverlapPass pass = instruments_.measure_baseline(subject_.space.start);
    outcome_.overlap = std::move(pass.overlap);
    outcome_.baseline_loss = instruments_.verification().mean(pass.losses);
    outcome_.baseline_losses = std::move(pass.losses);
    progress_.note(fmt::format("all-Full loss {}", loss_text(outcome_.baseline_loss)));
  }

  void search() {
    for (const Strategy* strategy : subject_.strategies) {
      begin_path({Phase::search, strategy->name}, subject_.space.start);
      strategy->search(instruments_.search(), space(strategy->races_by_default), sink());
    }
  }

  // A plan is an upper bound: in its races nobody leaves.
  SearchSpace space(bool races_by_default) const {
    SearchSpace space = subject_.space;
    if (!races_by_default && !subject_.race_all) space.races.reset();
    if (space.races && !instruments_.measures()) space.races->confidence = 1;
    return space;
  }

  // One path per target, from the best pattern of its size.
  void refine() {
    if (subject_.refinement == nullptr) return;
    for (const Request& request : requests_) {
      const Reached from = reached(request.full);
      begin_path({Phase::refinement, subject_.refinement->name}, from.step.pattern);
      subject_.refinement->refine(instruments_.search(), space(true), refinement_start(from),
                                  sink());
    }
  }

  // With segments, moves that they predict to be worse need not be measured.
  RefinementStart refinement_start(const Reached& from) const {
    RefinementStart start{from.step, {}, 0};
    const auto measured = std::ranges::find_if(
        outcome_.searches, [](const SearchPath& path) { return !path.measured.empty(); });
    if (measured == outcome_.searches.end() || !instruments_.measures()) return start;
    const double base = outcome_.baseline_loss;
    const auto table = std::make_shared<const SegmentTable>(
        segment_table(subject_.space.start, base, measured->measured));
    start.predict = [table, base](const Pattern& pattern) -> std::optional<double> {
      const auto increase = table->predict(pattern);
      return increase ? std::optional(base + *increase) : std::nullopt;
    };
    for (const SearchPath& path : outcome_.searches) {
      for (const PathStep& step : path.steps) {
        if (step.pattern.full_count() != from.step.pattern.full_count()) continue;
        for (const Considered& considered : step.considered) {
          const auto predicted = start.predict(considered.pattern);
          if (!predicted) continue;
          start.prediction_error =
              std::max(start.prediction_error, std::abs(considered.loss - *predicted));
        }
      }
    }
    return start;
  }

  void begin_path(WorkPart part, const Pattern& start) {
    outcome_.searches.push_back({std::string(part.method), start, {}});
    part_ = part;
    name_step();
  }

  SearchSink sink() {
    return {[this](PathStep step) {
              SearchPath& path = outcome_.searches.back();
              evaluated_ += evaluations(step.considered);
              path.steps.push_back(std::move(step));
              tell(path);
              name_step();
            },
            [this](std::vector<Considered> measured) {
              evaluated_ += evaluations(measured);
              progress_.note(fmt::format("{}  {} patterns measured{}{}", part_.method,
                                         measured.size(), saved_text(measured), time_left()));
              outcome_.searches.back().measured = std::move(measured);
            },
            [this](Neighborhood neighborhood) {
              const SearchPath& path = outcome_.searches.back();
              tell(neighborhood, path.steps.empty() ? path.start : path.steps.back().pattern);
              evaluated_ += evaluations(neighborhood.considered);
              outcome_.searches.back().neighborhood = std::move(neighborhood);
            }};
  }

  double evaluations(const std::vector<Considered>& patterns) const {
    return evaluations_of(patterns, outcome_.baseline_losses.size());
  }

  // What races saved.
  std::string saved_text(const std::vector<Considered>& patterns) const {
    const auto all = static_cast<double>(patterns.size());
    const double saved = all - evaluations(patterns);
    return saved > 0 ? fmt::format("; races saved {:.1f} of {} evaluations", saved, all) : "";
  }

  void name_step() {
    const SearchPath& path = outcome_.searches.back();
    sweeps_before_ = instruments_.workload().sweeps.size();
    instruments_.begin(part_, step_name(path, path.steps.size() + 1));
  }

  // "greedy step 3/12"; a refinement's number of steps is not known.
  std::string step_name(const SearchPath& path, std::size_t number) const {
    const std::size_t place = outcome_.searches.size() - 1;
    const bool known = part_.phase == Phase::search && place < expected_.steps.size();
    return fmt::format("{} step {}{}", path.method, number,
                       known ? fmt::format("/{}", expected_.steps[place]) : "");
  }

  void tell(const Neighborhood& around, const Pattern& pattern) {
    const std::string found =
        fmt::format("{}  {}  no single move improves it", part_.method, pattern.text());
    const std::size_t measured = around.considered.size();
    progress_.note(
        fmt::format("{} ({}{})", found,
                    measured == around.patterns
                        ? fmt::format("{} measured", measured)
                        : fmt::format("{} of {} measured, the others are predicted to be worse",
                                      measured, around.patterns),
                    saved_text(around.considered)));
  }

  void tell(const SearchPath& path) {
    const PathStep& step = path.steps.back();
    const std::size_t count = path.steps.size();
    const Pattern& before = count > 1 ? path.steps[count - 2].pattern : path.start;
    std::string moves;
    // The steps of some strategies are patterns of different sizes, not moves.
    const auto shared = newly_shared(before, step.pattern);
    const auto restored = newly_shared(step.pattern, before);
    if (shared.size() == 1) moves += fmt::format("  layer {} shared", shared[0]);
    if (shared.size() == 1 && restored.size() == 1) {
      moves += fmt::format("  layer {} full", restored[0]);
    }
    const bool measured = instruments_.workload().sweeps.size() > sweeps_before_;
    progress_.note(fmt::format("{}  {}{}  delta {}{}", step_name(path, count), step.pattern.text(),
                               moves, delta_text(step.loss - outcome_.baseline_loss),
                               measured ? time_left() : "  (measured before)"));
  }

  std::string time_left() const {
    const double left = static_cast<double>(expected_.evaluations) - evaluated_;
    const double seconds = instruments_.seconds_for(left);
    if (part_.phase != Phase::search || seconds <= 0) return "";
    return fmt::format("  about {} left", format_duration(seconds));
  }

  // The best pattern with `full` F layers that any search went through, the earliest of equals.
  Reached reached(std::size_t full) const {
    std::optional<Reached> best;
    if (subject_.space.start.full_count() == full) {
      best = Reached{{subject_.space.start, outcome_.baseline_loss, {}},
                     outcome_.searches.front().method};
    }
    for (const SearchPath& path : outcome_.searches) {
      for (const PathStep& step : path.steps) {
        if (step.pattern.full_count() != full || (best && best->step.loss <= step.loss)) continue;
        best = Reached{step, path.method};
      }
    }
    return best.value();
  }

  void end_early() {
    outcome_.complete = false;
    std::set<std::size_t> sizes = {subject_.space.start.full_count()};
    for (const SearchPath& path : outcome_.searches) {
      for (const PathStep& step : path.steps) sizes.insert(step.pattern.full_count());
    }
    const std::size_t fewest = *sizes.begin();
    const auto missed = std::erase_if(
        requests_, [&](const Request& request) { return !sizes.contains(request.full); });
    if (missed > 0 && (requests_.empty() || requests_.back().full != fewest)) {
      requests_.push_back({"budget", fewest});
    }
    const SearchPath& path = outcome_.searches.back();
    const std::size_t place = outcome_.searches.size() - 1;
    const bool known = part_.phase == Phase::search && place < expected_.steps.size();
    warn(
        progress_, outcome_.warnings,
        fmt::format("--budget ended the {} ({}) after {}{} steps; the same command continues it",
                    part_.phase == Phase::search ? "search" : "refinement", path.method,
                    path.steps.size(), known ? fmt::format(" of {}", expected_.steps[place]) : ""));
  }

  // Every chosen pattern again, alone: no shared prefix, no batch, the same bits.
  void verify() {
    instruments_.begin({Phase::verification}, "verifying from scratch");
    Evaluator& evaluator = instruments_.verification();
    for (const Request& request : requests_) {
      const Reached found = reached(request.full);
      const Pattern& pattern = found.step.pattern;
      SequenceLosses losses = evaluator.losses_of(pattern);
      const double loss = evaluator.mean(losses);
      if (loss != found.step.loss) {
        throw InternalError(
            {"the chosen pattern does not reproduce its loss", pattern.text(),
             fmt::format("{} in the search, {} when evaluated by itself", found.step.loss, loss),
             "report it with the journal"});
      }
      auto delta = paired_difference(losses, outcome_.baseline_losses, evaluator.weights());
      outcome_.targets.push_back(
          {.request = request.text,
           .method = found.method,
           .calibration = {pattern, loss, std::move(losses), std::move(delta)},
           .holdout = std::nullopt,
           .uniform_holdout = std::nullopt,
           .donors = {}});
    }
  }

  void hold_out() {
    instruments_.begin({Phase::holdout}, "held-out sequences");
    Evaluator& evaluator = instruments_.holdout();
    const Pattern& baseline = subject_.space.start;
    std::vector<Pattern> patterns = {baseline};
    for (const Target& target : outcome_.targets) {
      const Pattern& pattern = target.calibration.pattern;
      patterns.push_back(pattern);
      patterns.push_back(uniform_of_size(baseline, pattern.full_count()));
    }
    const auto losses = evaluator.losses(patterns);
    const auto measured = [&](std::size_t p) {
      return Measured{patterns[p], evaluator.mean(losses[p]), losses[p],
                      paired_difference(losses[p], losses[0], evaluator.weights())};
    };
    outcome_.holdout_baseline_loss = evaluator.mean(losses[0]);
    outcome_.holdout_baseline_losses = losses[0];
    for (std::size_t t = 0; t < outcome_.targets.size(); ++t) {
      outcome_.targets[t].holdout = measured(2 * t + 1);
      outcome_.targets[t].uniform_holdout = measured(2 * t + 2);
    }
  }

  const SearchSubject& subject_;
  Instruments& instruments_;
  Progress& progress_;
  ExpectedWork expected_;
  double evaluated_ = 0;
  std::size_t sweeps_before_ = 0;  // when the step began
  std::vector<Request> requests_;  // those that the search reached, once it has ended
  WorkPart part_;
  SearchOutcome outcome_;
};

}  // namespace

SearchOutcome search_run(const SearchSubject& subject, Instruments& instruments, Progress& progress,
                         const ExpectedWork& expected) {
  return SearchRun(subject, instruments, progress, expected).execute();
}

}  // namespace indexcache
