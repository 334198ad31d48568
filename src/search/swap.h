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

// Goes to the neighbor of least loss while it is better than the pattern it replaces: a local
// optimum, at which no swap helps. Ends after as many rounds as there are layers at the latest.
void swap_refine(Evaluator& evaluator, const SearchSpace& space, const PathStep& from,
                 const StepSink& sink);

}  // namespace indexcache
