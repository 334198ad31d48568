// SPDX-License-Identifier: Apache-2.0
#include "search/strategy.h"

#include "search/greedy.h"
#include "search/segments.h"
#include "search/swap.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace indexcache {
namespace {

constexpr std::array kStrategies = {Strategy{"segments", segments_search, true, true},
                                    Strategy{"greedy", greedy_search, false, false}};
constexpr std::array kRefinements = {Refinement{"swap", swap_refine}};

}  // namespace

std::span<const Strategy> strategies() {
  return kStrategies;
}

std::vector<std::string> default_strategies() {
  std::vector<std::string> names;
  for (const Strategy& strategy : kStrategies) names.emplace_back(strategy.name);
  return names;
}

std::span<const Refinement> refinements() {
  return kRefinements;
}

bool races_by_default(std::string_view method) {
  const auto found = std::ranges::find(kStrategies, method, &Strategy::name);
  return found == kStrategies.end() || found->races_by_default;
}

const Refinement* find_refinement(std::string_view name) {
  const auto found = std::ranges::find(kRefinements, name, &Refinement::name);
  return found == kRefinements.end() ? nullptr : &*found;
}

bool SearchSpace::holds(const Pattern& pattern) const {
  for (std::size_t layer = 0; layer < start.layers(); ++layer) {
    if (pattern.is_full(layer) && !start.is_full(layer)) return false;
  }
  return keeps(pattern, constraints);
}

PathStep race_for_best(Evaluator& evaluator, const std::optional<RaceRules>& rules,
                       std::vector<Pattern> candidates, const SequenceLosses& reference) {
  const auto losses = race(evaluator, rules, candidates, keeps_possible_winners(evaluator));
  PathStep step{candidates.front(), std::numeric_limits<double>::infinity(), {}};
  for (std::size_t c = 0; c < candidates.size(); ++c) {
    step.considered.push_back(raced(evaluator, candidates[c], losses[c], reference));
    const Considered& considered = step.considered.back();
    if (!considered.complete() || considered.loss >= step.loss) continue;
    step.pattern = considered.pattern;
    step.loss = considered.loss;
  }
  return step;
}

PathStep best_of(const Evaluator& evaluator, std::span<const Pattern> candidates,
                 std::span<const SequenceLosses> losses) {
  std::vector<Considered> considered;
  for (std::size_t c = 0; c < candidates.size(); ++c) {
    considered.push_back({candidates[c], evaluator.mean(losses[c]), losses[c]});
  }
  // The first of equals: std::ranges::min_element compares strictly.
  const auto best = std::ranges::min_element(considered, {}, &Considered::loss);
  return {best->pattern, best->loss, std::move(considered)};
}

}  // namespace indexcache
