// SPDX-License-Identifier: Apache-2.0
// bench search: the time of greedy steps, and of the whole search that begins with them.
#include "bench.h"
#include "core/console.h"
#include "core/count_text.h"
#include "core/error.h"
#include "pattern_spec.h"
#include "run/calibration_data.h"
#include "run/targets.h"
#include "search/greedy.h"

#include <fmt/format.h>

#include <chrono>

namespace indexcache {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

TokenSet tokens_of(BenchModel& model, const BenchOptions& options) {
  if (options.calibration.empty()) {
    return random_tokens(model.config(), options.sequences, options.contexts.front());
  }
  TokenSet tokens = read_tokens(options.calibration);
  check_tokens(tokens, token_limits(model.config()));
  return tokens;
}

}  // namespace

Json bench_search(BenchModel& model, const BenchOptions& options, bool json) {
  const TokenSet tokens = tokens_of(model, options);
  const Pattern baseline = model.baseline();
  const std::size_t target = parse_keep(options.keep, baseline.layers());
  if (target < 1 || target >= baseline.full_count()) {
    throw UsageError({fmt::format("--keep {} leaves nothing to search", options.keep), "--keep",
                      fmt::format("{} layers have an indexer", baseline.full_count()),
                      "--keep 1/8"});
  }
  SweepEvaluator evaluator(model.config(), model.weights(), model.backend(), tokens,
                           model.memory());
  evaluator.losses_of(baseline);  // what is done once: algorithms, layouts, memory

  std::vector<double> step_seconds;
  std::vector<PathStep> taken;
  std::size_t candidates = 0;
  auto last = Clock::now();
  const std::size_t steps = baseline.full_count() - target;
  const std::size_t timed = options.whole ? steps : 1;
  const SearchSpace space{
      baseline, Constraints::none(baseline.layers()), {baseline.full_count() - timed}};
  greedy_search(evaluator, space, [&](PathStep step) {
    step_seconds.push_back(seconds_since(last));
    last = Clock::now();
    candidates += step.considered.size();
    taken.push_back(std::move(step));
  });
  const std::size_t first = taken.front().considered.size();
  const std::int64_t planned = evaluator.planner().plan(first).total();
  double total = 0;
  for (const double seconds : step_seconds) total += seconds;
  // A step has one candidate fewer than the one before it.
  std::size_t all = 0;
  for (std::size_t s = 0; s < steps; ++s) all += first - s;
  const double projected = total / static_cast<double>(candidates) * static_cast<double>(all);
  if (!json) {
    write_output("  {} tokens in {} sequences; step 1: {} candidates in {:.3f} s\n",
                 count_text(tokens.tokens()), tokens.sequences.size(), first, step_seconds.front());
    write_output("  {} steps to {} F layers: {:.3f} s {}\n", steps, target, projected,
                 options.whole ? "measured" : "projected");
    if (options.whole) write_output("  {}\n", taken.back().pattern.text());
  }
  std::vector<Pattern> of_step;
  for (const Considered& one : taken.front().considered) of_step.push_back(one.pattern);
  const Json scaling = bench_scaling(model, tokens, of_step, json);
  return {{"tokens", tokens.tokens()},
          {"sequences", tokens.sequences.size()},
          {"steps", steps},
          {"step_seconds", step_seconds},
          {"total_seconds", projected},
          {"measured", options.whole},
          {"pattern", taken.back().pattern.text()},
          {"scaling", scaling},
          {"memory", model.memory_report(planned, json)}};
}

}  // namespace indexcache
