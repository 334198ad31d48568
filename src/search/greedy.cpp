// SPDX-License-Identifier: Apache-2.0
#include "search/greedy.h"

#include <chrono>
#include <utility>

namespace indexcache {
namespace {

std::vector<Candidate> evaluate_candidates(Evaluator& evaluator, const Pattern& pattern,
                                           const std::vector<std::size_t>& layers,
                                           const SweepLog& log) {
  std::vector<Pattern> patterns;
  for (std::size_t layer : layers) patterns.push_back(pattern.with_shared(layer));
  std::vector<SequenceLosses> losses = evaluator.losses(patterns, nullptr, log);
  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const double mean = evaluator.mean(losses[i]);
    candidates.push_back({layers[i], std::move(losses[i]), mean});
  }
  return candidates;
}

}  // namespace

Step choose(const Pattern& before, std::vector<Candidate> candidates) {
  // Strict comparison in ascending order: the first, lowest layer wins a tie.
  const Candidate* best = nullptr;
  const Candidate* second = nullptr;
  for (const Candidate& candidate : candidates) {
    if (best == nullptr || candidate.loss < best->loss) {
      second = std::exchange(best, &candidate);
    } else if (second == nullptr || candidate.loss < second->loss) {
      second = &candidate;
    }
  }
  Step step{.pattern = before.with_shared(best->layer),
            .removed = best->layer,
            .loss = best->loss,
            .runner_up = std::nullopt,
            .candidates = {}};
  if (second != nullptr) {
    step.runner_up = second->layer;
    step.margin = second->loss - best->loss;
  }
  step.candidates = std::move(candidates);
  return step;
}

std::vector<Step> greedy_search(Evaluator& evaluator, const Pattern& start,
                                const Constraints& constraints, std::size_t target_full,
                                const GreedyHooks& hooks) {
  using Clock = std::chrono::steady_clock;
  std::vector<Step> steps;
  Pattern pattern = start;
  while (pattern.full_count() > target_full) {
    std::optional<Step> step = hooks.replay(steps.size(), pattern);
    if (!step && hooks.stop && hooks.stop(steps.size())) break;
    if (!step) {
      const auto begin = Clock::now();
      const auto layers = next_candidates(pattern, constraints, target_full);
      const SweepLog log = hooks.log ? hooks.log(steps.size(), layers) : SweepLog{};
      step = choose(pattern, evaluate_candidates(evaluator, pattern, layers, log));
      step->seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      hooks.record(steps.size(), *step);
    }
    pattern = step->pattern;
    steps.push_back(std::move(*step));
  }
  return steps;
}

}  // namespace indexcache
