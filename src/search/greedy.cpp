// SPDX-License-Identifier: Apache-2.0
#include "search/greedy.h"

#include <utility>

namespace indexcache {

void greedy_search(Evaluator& evaluator, const SearchSpace& space, const SearchSink& sink) {
  const std::size_t target = space.targets.back();
  // Only a race compares with it.
  const SequenceLosses reference =
      space.races ? evaluator.losses_of(space.start) : SequenceLosses{};
  Pattern pattern = space.start;
  while (pattern.full_count() > target) {
    std::vector<Pattern> candidates;
    for (const std::size_t layer : next_candidates(pattern, space.constraints, target)) {
      candidates.push_back(pattern.with_shared(layer));
    }
    PathStep step = race_for_best(evaluator, space.races, std::move(candidates), reference);
    pattern = step.pattern;
    sink.step(std::move(step));
  }
}

}  // namespace indexcache
