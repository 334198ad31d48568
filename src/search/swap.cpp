// SPDX-License-Identifier: Apache-2.0
#include "search/swap.h"

#include <utility>

namespace indexcache {

std::vector<Pattern> swap_neighbors(const Pattern& pattern, const SearchSpace& space) {
  std::vector<Pattern> neighbors;
  for (std::size_t gives = 1; gives < pattern.layers(); ++gives) {
    if (!pattern.is_full(gives)) continue;
    const Pattern without = pattern.with_shared(gives);
    for (std::size_t takes = 1; takes < pattern.layers(); ++takes) {
      if (pattern.is_full(takes)) continue;
      Pattern neighbor = without.with_full(takes);
      if (space.holds(neighbor)) neighbors.push_back(std::move(neighbor));
    }
  }
  return neighbors;
}

void swap_refine(Evaluator& evaluator, const SearchSpace& space, const PathStep& from,
                 const StepSink& sink) {
  Pattern pattern = from.pattern;
  double loss = from.loss;
  for (std::size_t round = 0; round < pattern.layers(); ++round) {
    std::vector<Pattern> neighbors = swap_neighbors(pattern, space);
    if (neighbors.empty()) return;
    PathStep step = best_of(evaluator, std::move(neighbors));
    if (step.loss >= loss) return;
    pattern = step.pattern;
    loss = step.loss;
    sink(std::move(step));
  }
}

}  // namespace indexcache
