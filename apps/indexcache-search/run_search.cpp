// SPDX-License-Identifier: Apache-2.0
#include "run_search.h"

#include "core/bytes.h"
#include "core/created.h"
#include "core/error.h"
#include "search/baselines.h"
#include "search/greedy.h"
#include "search/overlap_pass.h"
#include "version.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

namespace indexcache {
namespace {

// Time that the rest of a search takes, at the rate of the candidates evaluated so far.
class TimeLeft {
 public:
  void count(const Step& step) {
    candidates_ += step.candidates.size();
    seconds_ += step.seconds;
  }

  // What a step of `candidates` takes; 0 as long as nothing is known.
  double seconds_of(std::size_t candidates) const {
    if (candidates_ == 0) return 0;
    return seconds_ / static_cast<double>(candidates_) * static_cast<double>(candidates);
  }

  // `next`: candidates of the next step; `ahead`: steps still to come, each with one fewer.
  std::string text(std::size_t next, std::size_t ahead) const {
    std::size_t remaining = 0;
    for (std::size_t i = 0; i < ahead; ++i) remaining += next > i ? next - i : 1;
    if (remaining == 0) return "";
    return fmt::format("about {} left", format_duration(seconds_of(remaining)));
  }

 private:
  std::size_t candidates_ = 0;
  double seconds_ = 0;
};

class Run {
 public:
  Run(const RunInputs& inputs, std::unique_ptr<Backend> backend, Journal& journal,
      Progress& progress)
      : model_(inputs.model),
        baseline_(inputs.subject.baseline),
        constraints_(inputs.subject.constraints),
        targets_(inputs.subject.targets),
        budget_seconds_(inputs.budget_seconds),
        data_(inputs.subject.data),
        journal_(journal),
        progress_(progress),
        engine_(inputs.model, std::move(backend), inputs.engine) {}

  RunResult execute(const Fingerprint& fingerprint, const std::vector<std::string>& warnings) {
    Result record{.provenance = provenance(),
                  .model = summarize(model_),
                  .calibration = summarize(data_.search),
                  .holdout = std::nullopt,
                  .constraints = constraints_,
                  .fingerprint = fingerprint,
                  .baseline = baseline_,
                  .baseline_losses = {},
                  .searches = {},
                  .targets = {},
                  .overlap = {},
                  .warnings = warnings};
    record.calibration.prepared = data_.prepared;
    measure_baseline(record);
    search(record);
    verify(record);
    if (data_.holdout) hold_out(record);
    const std::int64_t planned = engine_.weight_bytes() + planned_bytes_;
    const std::int64_t peak = engine_.backend().memory_use().peak_total;
    progress_.note(
        fmt::format("memory: {} planned, {} at the peak", bytes_text(planned), bytes_text(peak)));
    if (planned > 0 && recorded_seconds(0)) {
      record.provenance.planned_bytes = planned;
      record.provenance.peak_bytes = peak;
    }
    double seconds = 0;
    for (const Step& step : steps_) seconds += step.seconds;
    record.provenance.search_seconds = recorded_seconds(seconds);
    record.searches.push_back(path_of(steps_));
    return {std::move(record), std::move(overlap_)};
  }

 private:
  // Overlap needs the index sets again after an interruption, and the losses of the same pass show
  // that this machine computes the bits that the journal continues from.
  void measure_baseline(Result& record) {
    Evaluator evaluator =
        engine_.evaluator(data_.search, progress_, "overlap and loss with every indexer");
    OverlapPass pass = measure_overlap(evaluator, engine_.backend(), record.baseline,
                                       model_.config.index_topk, data_.search.longest());
    if (!journal_.baseline()) journal_.record_baseline(pass.losses);
    if (*journal_.baseline() != pass.losses) {
      throw ResumeMismatch({"the run folder holds losses of another machine or build",
                            "the journal's baseline",
                            "the all-Full losses differ in their last bits",
                            "continue where it began, another --output, or --restart"});
    }
    overlap_ = std::move(pass.overlap);
    record.overlap = summarize(overlap_);
    count_memory(evaluator);
    record.baseline_loss = evaluator.mean(pass.losses);
    record.baseline_losses = std::move(pass.losses);
    progress_.note(fmt::format("all-Full loss {}", loss_text(record.baseline_loss)));
  }

  void search(Result& record) {
    const std::size_t target = targets_.back().full;
    const std::size_t steps = record.baseline.full_count() - target;
    std::size_t current = 0;
    Pattern reached = baseline_;
    TimeLeft time_left;
    Evaluator evaluator = engine_.evaluator(data_.search, progress_, "searching");
    evaluator.set_progress([&](std::size_t done, std::size_t total) {
      progress_.update(fmt::format("step {}/{}", current + 1, steps), done, total);
    });
    const auto tell = [&](std::size_t index, const Step& step, const std::string& remark) {
      progress_.note(fmt::format("step {}/{}  {}  layer {} shared  delta {}  {}", index + 1, steps,
                                 step.pattern.text(), step.removed,
                                 delta_text(step.loss - record.baseline_loss), remark));
      current = index + 1;
      reached = step.pattern;
    };
    const GreedyHooks hooks{
        .replay =
            [&](std::size_t index, const Pattern& before) {
              auto step = journal_.replay(index, before, evaluator);
              if (step) tell(index, *step, "(from the journal)");
              return step;
            },
        .record =
            [&](std::size_t index, const Step& step) {
              journal_.record(index, step);
              const std::size_t next = next_candidates(step.pattern, constraints_, target).size();
              time_left.count(step);
              tell(index, step, time_left.text(next, steps - index - 1));
            },
        .stop =
            [&](std::size_t) {
              const std::size_t next = next_candidates(reached, constraints_, target).size();
              return exceeds_budget(time_left.seconds_of(next));
            },
        .log = [&](std::size_t index,
                   const std::vector<std::size_t>& layers) { return journal_.log(index, layers); }};
    steps_ = greedy_search(evaluator, baseline_, constraints_, target, hooks);
    count_memory(evaluator);
    if (steps_.size() < steps) end_early(record, steps);
  }

  // Whether a step of that many candidates would end after the budget.
  bool exceeds_budget(double expected_seconds) const {
    const std::chrono::duration<double> used = std::chrono::steady_clock::now() - began_;
    return budget_seconds_ > 0 && used.count() + expected_seconds > budget_seconds_;
  }

  void end_early(Result& record, std::size_t steps) {
    const std::size_t reached = baseline_.full_count() - steps_.size();
    std::erase_if(targets_, [&](const Request& request) { return request.full < reached; });
    if (targets_.empty() || targets_.back().full != reached)
      targets_.push_back({"budget", reached});
    record.warnings.push_back(
        fmt::format("--budget ended the search after {} of {} steps; the same command continues it",
                    steps_.size(), steps));
    progress_.note("warning: " + record.warnings.back());
  }

  // Every chosen pattern again, alone: no shared prefix, no batch, the same bits.
  void verify(Result& record) {
    Evaluator evaluator = engine_.evaluator(data_.search, progress_, "verifying from scratch");
    for (const Request& request : targets_) {
      const std::size_t steps = record.baseline.full_count() - request.full;
      const Pattern pattern = steps == 0 ? record.baseline : steps_[steps - 1].pattern;
      const double expected = steps == 0 ? record.baseline_loss : steps_[steps - 1].loss;
      SequenceLosses losses = evaluator.losses(std::span(&pattern, 1)).front();
      const double loss = evaluator.mean(losses);
      if (loss != expected) {
        throw InternalError({"the chosen pattern does not reproduce its loss", pattern.text(),
                             fmt::format("{} in the search, {} alone", expected, loss),
                             "report it with the journal"});
      }
      auto delta = paired_difference(losses, record.baseline_losses, evaluator.weights());
      record.targets.push_back({request.text,
                                "greedy",
                                {pattern, loss, std::move(losses), std::move(delta)},
                                std::nullopt,
                                std::nullopt,
                                donor_overlaps(pattern, overlap_)});
    }
  }

  void hold_out(Result& record) {
    Evaluator evaluator = engine_.evaluator(*data_.holdout, progress_, "held-out sequences");
    std::vector<Pattern> patterns = {record.baseline};
    for (const Target& target : record.targets) {
      patterns.push_back(target.calibration.pattern);
      patterns.push_back(uniform_of_size(baseline_, target.calibration.pattern.full_count()));
    }
    const auto losses = evaluator.losses(patterns);
    count_memory(evaluator);
    const auto measured = [&](std::size_t p) {
      return Measured{patterns[p], evaluator.mean(losses[p]), losses[p],
                      paired_difference(losses[p], losses[0], evaluator.weights())};
    };
    record.holdout = Holdout{summarize(*data_.holdout), evaluator.mean(losses[0]), losses[0]};
    for (std::size_t t = 0; t < record.targets.size(); ++t) {
      record.targets[t].holdout = measured(2 * t + 1);
      record.targets[t].uniform_holdout = measured(2 * t + 2);
    }
  }

  Provenance provenance() {
    return {.tool_version = kToolVersion,
            .numerics_version = kNumericsVersion,
            .device = engine_.backend().name(),
            .created_at = created_time(),
            .search_seconds = std::nullopt,
            .planned_bytes = std::nullopt,
            .peak_bytes = std::nullopt};
  }

  SearchPath path_of(const std::vector<Step>& steps) const {
    SearchPath path{.method = "greedy", .start = baseline_, .steps = {}};
    const Pattern* before = &path.start;
    for (const Step& step : steps) {
      path.steps.push_back({step.pattern, step.loss, {}});
      for (const Candidate& candidate : step.candidates) {
        path.steps.back().considered.push_back(
            {before->with_shared(candidate.layer), candidate.loss, candidate.losses});
      }
      before = &step.pattern;
    }
    return path;
  }

  void count_memory(const Evaluator& evaluator) {
    planned_bytes_ = std::max(planned_bytes_, evaluator.planned_bytes());
  }

  const Model& model_;
  const Pattern& baseline_;
  const Constraints& constraints_;
  std::vector<Request> targets_;  // those that the search reached, once it has ended
  double budget_seconds_;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  const CalibrationData& data_;
  Journal& journal_;
  Progress& progress_;
  Engine engine_;
  Overlap overlap_;
  std::vector<Step> steps_;
  std::int64_t planned_bytes_ = 0;
};

}  // namespace

RunResult run_search(const RunInputs& inputs, std::unique_ptr<Backend> backend, Journal& journal,
                     Progress& progress) {
  return Run(inputs, std::move(backend), journal, progress)
      .execute(inputs.fingerprint, inputs.subject.warnings);
}

}  // namespace indexcache
