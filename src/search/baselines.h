// SPDX-License-Identifier: Apache-2.0
// Patterns that a search result is compared with.
#pragma once

#include "core/pattern.h"
#include "search/overlap.h"
#include "search/strategy.h"

#include <cstddef>
#include <optional>
#include <vector>

namespace indexcache {

// Uniform interleaving with `full` F layers among the F layers of `baseline`: every r-th of them
// where some r gives that number, else evenly spread. Requires 1 <= full <= those.
Pattern uniform_of_size(const Pattern& baseline, std::size_t full);

// What the overlap of index sets recommends: the pattern with `full` F layers whose S layers find,
// in sum, the largest share of their own set in their donor's. Dynamic programming over segments,
// as in search by segments, without any loss; keeps the constraints. nullopt if no pattern does.
std::optional<Pattern> overlap_pattern(const Overlap& overlap, const Pattern& baseline,
                                       const Constraints& constraints, std::size_t full);

// Up to `count` different patterns with `full` F layers that `space` holds, drawn at random with a
// fixed seed; fewer if they are rare.
std::vector<Pattern> random_patterns(const SearchSpace& space, std::size_t full, std::size_t count);

}  // namespace indexcache
