// SPDX-License-Identifier: Apache-2.0
// Training-free greedy search (IndexCache, arXiv 2603.12201, Algorithm 1).
#pragma once

#include "search/strategy.h"

namespace indexcache {

// Shares one layer per step, from `space.start` down to the smallest target: first the layers that
// are pinned to S, each a step with one candidate, then the best of next_candidates; the lowest
// layer wins a tie. Requires that the constraints leave a way to the target (fewest_full).
// Algorithm 1 compares candidates on all data; with space.races, each step is a race.
void greedy_search(Evaluator& evaluator, const SearchSpace& space, const SearchSink& sink);

}  // namespace indexcache
