// SPDX-License-Identifier: Apache-2.0
// Swap refinement: moves one F elsewhere as long as that lowers the loss.
#pragma once

#include "search/strategy.h"

#include <cstddef>
#include <vector>

namespace indexcache {

// Every pattern that differs from `pattern` by one F layer that became S and one S layer that
// became F, and that `space` holds: ascending by the former layer, then by the latter.
std::vector<Pattern> swap_neighbors(const Pattern& pattern, const SearchSpace& space);

// Which improvements count.
enum class Improvement {
  beyond_error,  // those larger than their paired standard error; any, for a single sequence
  any,
};

// Goes to the neighbor of least loss among those that are better than the pattern, until there is
// none. Neighbors whose predicted loss exceeds the pattern's by more than predictions were seen to
// err are not measured. Ends after as many rounds as there are layers at the latest.
void refine_by_swaps(Evaluator& evaluator, const SearchSpace& space, const RefinementStart& start,
                     Improvement counts, const SearchSink& sink);

// The same for improvements beyond their error: on few sequences, smaller ones are noise.
void swap_refine(Evaluator& evaluator, const SearchSpace& space, const RefinementStart& start,
                 const SearchSink& sink);

}  // namespace indexcache
