// SPDX-License-Identifier: Apache-2.0
#include "search/strategy.h"

#include "search/greedy.h"
#include "search/swap.h"

#include <algorithm>
#include <array>
#include <utility>

namespace indexcache {
namespace {

constexpr std::array kStrategies = {Strategy{"greedy", greedy_search}};
constexpr std::array kRefinements = {Refinement{"swap", swap_refine}};

}  // namespace

std::span<const Strategy> strategies() {
  return kStrategies;
}

std::span<const Refinement> refinements() {
  return kRefinements;
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

PathStep best_of(Evaluator& evaluator, std::vector<Pattern> candidates) {
  std::vector<SequenceLosses> losses = evaluator.losses(candidates);
  std::vector<Considered> considered;
  for (std::size_t c = 0; c < candidates.size(); ++c) {
    const double mean = evaluator.mean(losses[c]);
    considered.push_back({std::move(candidates[c]), mean, std::move(losses[c])});
  }
  // The first of equals: std::ranges::min_element compares strictly.
  const auto best = std::ranges::min_element(considered, {}, &Considered::loss);
  return {best->pattern, best->loss, std::move(considered)};
}

}  // namespace indexcache
