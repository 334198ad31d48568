// SPDX-License-Identifier: Apache-2.0
#include "search/greedy.h"

#include <utility>

namespace indexcache {

void greedy_search(Evaluator& evaluator, const SearchSpace& space, const SearchSink& sink) {
  const std::size_t target = space.targets.back();
  Pattern pattern = space.start;
  while (pattern.full_count() > target) {
    std::vector<Pattern> candidates;
    for (const std::size_t layer : next_candidates(pattern, space.constraints, target)) {
      candidates.push_back(pattern.with_shared(layer));
    }
    PathStep step = best_of(evaluator, std::move(candidates));
    pattern = step.pattern;
    sink.step(std::move(step));
  }
}

}  // namespace indexcache
