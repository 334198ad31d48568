// SPDX-License-Identifier: Apache-2.0
#include "run/search_run.h"

#include "core/error.h"
#include "present/target_text.h"
#include "run/contenders.h"
#include "run/holdout.h"
#include "run/size_search.h"
#include "run/stability.h"
#include "search/segments.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <set>
#include <utility>

namespace indexcache {
namespace {

// The largest difference between measured and predicted losses of patterns of one size.
double largest_error(const std::vector<SearchPath>& paths, std::size_t full,
                     const std::function<std::optional<double>(const Pattern&)>& predict) {
  double largest = 0;
  for (const SearchPath& path : paths) {
    for (const PathStep& step : path.steps) {
      if (step.pattern.full_count() != full) continue;
      for (const Considered& considered : step.considered) {
        const auto predicted = predict(considered.pattern);
        if (!predicted || !considered.complete()) continue;
        largest = std::max(largest, std::abs(considered.loss - *predicted));
      }
    }
  }
  return largest;
}

class SearchRun {
 public:
  SearchRun(const SearchSubject& subject, Instruments& instruments, Progress& progress,
            const ExpectedWork& expected)
      : subject_(subject),
        instruments_(instruments),
        progress_(progress),
        recorder_(instruments, progress, expected, subject.numbers),
        requests_(subject.requests) {}

  SearchOutcome execute() {
    measure_baseline();
    measure_start();
    try {
      if (subject_.max_rise) find_size();
      search(sizes_of(requests_));
      refine(requests_);
      halves_ = halves_of(sizes_of(requests_));
    } catch (const BudgetSpent&) {
      end_early();
    }
    verify();
    if (subject_.data.holdout) hold_out();
    if (subject_.max_rise && outcome_.complete && instruments_.measures()) confirm_size();
    outcome_.searches = recorder_.take();
    return std::move(outcome_);
  }

 private:
  void measure_baseline() {
    instruments_.begin({Phase::baseline}, "overlap and loss with every indexer");
    OverlapPass pass = instruments_.measure_baseline(subject_.space.start);
    outcome_.overlap = std::move(pass.overlap);
    outcome_.baseline_loss = instruments_.next_token_losses().mean(pass.losses);
    outcome_.baseline_losses = std::move(pass.losses);
    progress_.note(fmt::format("all-Full loss {}", loss_text(outcome_.baseline_loss)));
  }

  void measure_start() {
    instruments_.begin({Phase::search}, "baseline");
    Evaluator& evaluator = instruments_.search();
    outcome_.search_start = evaluator.mean(evaluator.losses_of(subject_.space.start));
    recorder_.set_start(outcome_.search_start, outcome_.baseline_losses.size());
  }

  static std::vector<std::size_t> sizes_of(const std::vector<Request>& requests) {
    std::vector<std::size_t> sizes;
    for (const Request& request : requests) sizes.push_back(request.full);
    return sizes;
  }

  // A plan is an upper bound: in its races nobody leaves.
  SearchSpace space(std::vector<std::size_t> targets, bool races_by_default) const {
    SearchSpace space = subject_.space;
    space.targets = std::move(targets);
    if (!races_by_default && !subject_.race_all) space.races.reset();
    if (space.races && !instruments_.measures()) space.races->confidence = 1;
    return space;
  }

  // The size that --max-rise asks for, as one more request.
  void find_size() {
    const Strategy& strategy = *subject_.strategies.front();
    const auto space_of = [&](std::size_t full) {
      return space({full}, strategy.races_by_default);
    };
    recorder_.begin({Phase::search, strategy.name}, subject_.space.start);
    const SizeSearch sizes(subject_, instruments_, progress_, outcome_.baseline_losses);
    const std::size_t full =
        sizes.fewest_within(*subject_.max_rise, strategy, space_of, recorder_.sink());
    requests_ = with_request(std::move(requests_), {max_rise_text(*subject_.max_rise), full});
  }

  void search(const std::vector<std::size_t>& sizes) {
    for (const Strategy* strategy : subject_.strategies) {
      recorder_.begin({Phase::search, strategy->name}, subject_.space.start);
      strategy->search(instruments_.search(), space(sizes, strategy->races_by_default),
                       recorder_.sink());
    }
  }

  // One path per target, from the best pattern of its size.
  void refine(const std::vector<Request>& requests) {
    if (subject_.refinement == nullptr) return;
    for (const Request& request : requests) {
      const Reached from = reached(request.full);
      recorder_.begin({Phase::refinement, subject_.refinement->name}, from.step.pattern);
      subject_.refinement->refine(instruments_.search(), space({request.full}, true),
                                  refinement_start(from), recorder_.sink());
    }
  }

  // With segments, moves that they predict to be worse need not be measured.
  RefinementStart refinement_start(const Reached& from) const {
    RefinementStart start{from.step, {}, 0};
    const auto measured = std::ranges::find_if(
        recorder_.paths(), [](const SearchPath& path) { return !path.measured.empty(); });
    if (measured == recorder_.paths().end() || !instruments_.measures()) return start;
    const double base = outcome_.search_start;
    const auto table = std::make_shared<const SegmentTable>(
        segment_table(subject_.space.start, base, measured->measured));
    start.predict = [table, base](const Pattern& pattern) -> std::optional<double> {
      const auto increase = table->predict(pattern);
      return increase ? std::optional(base + *increase) : std::nullopt;
    };
    start.prediction_error =
        largest_error(recorder_.paths(), from.step.pattern.full_count(), start.predict);
    return start;
  }

  // [sizes][2]; empty without --stability.
  std::vector<std::vector<HalfChoice>> halves_of(std::vector<std::size_t> sizes) {
    if (!subject_.stability) return {};
    recorder_.continue_with({Phase::stability}, "search on each half of the sequences");
    return search_halves(instruments_.search(), space(std::move(sizes), false));
  }

  Reached reached(std::size_t full) const {
    const std::vector<SearchPath>& paths = recorder_.paths();
    const auto best = best_reached(paths, full);
    const bool nothing_removed = subject_.space.start.full_count() == full;
    if (nothing_removed && (!best || outcome_.search_start <= best->step.loss)) {
      return {{subject_.space.start, outcome_.search_start, {}},
              std::string(subject_.strategies.front()->name)};
    }
    return best.value();
  }

  void end_early() {
    outcome_.complete = false;
    std::set<std::size_t> sizes = {subject_.space.start.full_count()};
    for (const SearchPath& path : recorder_.paths()) {
      for (const PathStep& step : path.steps) sizes.insert(step.pattern.full_count());
    }
    const std::size_t fewest = *sizes.begin();
    const auto missed = std::erase_if(
        requests_, [&](const Request& request) { return !sizes.contains(request.full); });
    const bool nothing = requests_.empty();
    if (nothing || (missed > 0 && requests_.back().full != fewest)) {
      requests_.push_back({"budget", fewest});
    }
    warn(progress_, outcome_.warnings,
         fmt::format("--budget ended {}; the same command continues it", recorder_.place_text()));
  }

  void verify() {
    instruments_.begin({Phase::verification}, "verifying from scratch");
    for (const Request& request : requests_) outcome_.targets.push_back(verified(request));
    for (std::size_t t = 0; t < halves_.size(); ++t) outcome_.targets[t].halves = halves_[t];
  }

  // The chosen pattern again, by itself: no shared prefix, no batch, the same bits.
  Target verified(const Request& request) {
    Evaluator& evaluator = instruments_.verification();
    const Reached found = reached(request.full);
    const Pattern& pattern = found.step.pattern;
    const SequenceLosses values = evaluator.losses_of(pattern);
    const double value = evaluator.mean(values);
    if (!instruments_.repeats_bits() && std::abs(value - found.step.loss) <= kKindNats) {
      note_repetition(pattern, found.step.loss, value);
    } else if (value != found.step.loss) {
      throw InternalError(
          {"the chosen pattern does not reproduce its loss", pattern.text(),
           fmt::format("{} in the search, {} when evaluated by itself", found.step.loss, value),
           "report it with the journal"});
    }
    Target target{.request = request.text,
                  .method = found.method,
                  .calibration = calibration_of(pattern, values),
                  .holdout = std::nullopt,
                  .uniform_holdout = std::nullopt,
                  .donors = {}};
    std::vector<std::string> strategies;
    for (const Strategy* strategy : subject_.strategies) strategies.emplace_back(strategy->name);
    add_contenders(target, recorder_.paths(), strategies, values, evaluator.weights());
    return target;
  }

  void note_repetition(const Pattern& pattern, double searched, double repeated) {
    if (repeated == searched) return;
    warn(progress_, outcome_.warnings,
         fmt::format("{} has loss {} in the search and {} when evaluated by itself, on devices of "
                     "different kinds",
                     pattern.text(), searched, repeated));
  }

  // Its next-token losses; `values` are those of the objective. Fidelity is measured on held-out
  // sequences if there are any.
  Measured calibration_of(const Pattern& pattern, const SequenceLosses& values) {
    FidelityPass pass{{}, {std::nullopt}, instruments_.next_token_losses().weights()};
    if (!subject_.data.holdout) {
      pass = instruments_.measure_fidelity(DataSide::search, std::span(&pattern, 1));
    } else if (subject_.objective == Objective::loss) {
      pass.losses = {values};
    } else {
      pass.losses = {instruments_.next_token_losses().losses_of(pattern)};
    }
    const SequenceLosses& losses = pass.losses.front();
    return {pattern, instruments_.next_token_losses().mean(losses), losses,
            paired_difference(losses, outcome_.baseline_losses, pass.weights),
            pass.fidelity.front()};
  }

  void hold_out() {
    HoldoutBaseline baseline =
        measure_holdout(instruments_, subject_.space, outcome_.overlap, outcome_.targets);
    outcome_.holdout_baseline_loss = baseline.loss;
    outcome_.holdout_baseline_losses = std::move(baseline.losses);
  }

  // Where the loss increase of a target exceeds --max-rise; nullopt if it does not.
  std::optional<std::string> exceeds(const Target& target) const {
    if (!stays_within(target.calibration, *subject_.max_rise)) return "calibration";
    if (!target.holdout || !target.holdout->delta.ci95) return std::nullopt;
    if (!stays_within(*target.holdout, *subject_.max_rise)) return "held-out";
    return std::nullopt;
  }

  Target* target_of(std::size_t full) {
    const auto found = std::ranges::find_if(outcome_.targets, [&](const Target& target) {
      return target.calibration.pattern.full_count() == full;
    });
    return found == outcome_.targets.end() ? nullptr : &*found;
  }

  // The size was found with one strategy, on the calibration data. What was chosen has to keep
  // --max-rise there and on held-out data, or one more layer keeps its indexer.
  void confirm_size() {
    const std::string text = max_rise_text(*subject_.max_rise);
    const auto target = std::ranges::find_if(
        outcome_.targets, [&](const Target& t) { return t.request.ends_with(text); });
    if (target == outcome_.targets.end()) return;
    if (target->holdout && !target->holdout->delta.ci95) {
      warn(progress_, outcome_.warnings,
           "one held-out sequence gives no interval, so the held-out data cannot confirm " + text);
    }
    const auto where = exceeds(*target);
    if (!where) return;
    const std::size_t full = target->calibration.pattern.full_count();
    const std::string missed =
        fmt::format("{} F layers do not keep the {} loss increase within {} nats", full, *where,
                    *subject_.max_rise);
    if (full == reachable_sizes(subject_.space.start, subject_.space.constraints).most) {
      warn(progress_, outcome_.warnings, missed + "; there is no larger size");
      return;
    }
    try {
      if (target_of(full + 1) == nullptr) add_target({"", full + 1});
    } catch (const BudgetSpent&) {
      outcome_.complete = false;
      warn(progress_, outcome_.warnings,
           missed + "; --budget ended the search for a larger size, the same command continues it");
      return;
    }
    move_request(text, full, full + 1);
    warn(progress_, outcome_.warnings,
         fmt::format("{}; {} F layers were chosen, {}", missed, full + 1,
                     exceeds(*target_of(full + 1)) ? "which do not either" : "which do"));
  }

  // Searches for one more size, once the others are complete.
  void add_target(const Request& request) {
    search({request.full});
    refine({request});
    const auto halves = halves_of({request.full});
    instruments_.begin({Phase::verification}, "verifying one size up");
    Target target = verified(request);
    if (!halves.empty()) target.halves = halves.front();
    if (subject_.data.holdout) {
      measure_holdout(instruments_, subject_.space, outcome_.overlap, std::span(&target, 1));
    }
    const auto at = std::ranges::find_if(outcome_.targets, [&](const Target& other) {
      return other.calibration.pattern.full_count() < request.full;
    });
    outcome_.targets.insert(at, std::move(target));
  }

  // A target without another request is dropped.
  void move_request(const std::string& text, std::size_t from, std::size_t to) {
    Target& old = *target_of(from);
    old.request = old.request == text ? "" : without_request(old.request, text);
    Target& now = *target_of(to);
    now.request = now.request.empty() ? text : joined_request(now.request, text);
    std::erase_if(outcome_.targets, [](const Target& target) { return target.request.empty(); });
  }

  const SearchSubject& subject_;
  Instruments& instruments_;
  Progress& progress_;
  PathRecorder recorder_;
  std::vector<Request> requests_;                // those that the search reached, once it has ended
  std::vector<std::vector<HalfChoice>> halves_;  // [requests][2], with --stability
  SearchOutcome outcome_;
};

}  // namespace

SearchOutcome search_run(const SearchSubject& subject, Instruments& instruments, Progress& progress,
                         const ExpectedWork& expected) {
  return SearchRun(subject, instruments, progress, expected).execute();
}

}  // namespace indexcache
