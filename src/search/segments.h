// SPDX-License-Identifier: Apache-2.0
// Search by segments: the cheapest pattern of every size, from segments measured one by one
// (docs/algorithm.md, "Segments").
#pragma once

#include "search/segment_table.h"
#include "search/strategy.h"

#include <cstddef>
#include <vector>

namespace indexcache {

// How many of the cheapest patterns of a size are measured; the best of them is taken.
inline constexpr std::size_t kMeasuredPaths = 4;

// Measures segments from short to long, row by row (a row: segments with the same first layer),
// until no longer one can be part of the cheapest pattern of a target, by the bounds of
// SegmentTable. For each target it then measures the cheapest patterns that the table predicts, and
// takes the one with the smallest loss: one step per target. Requires that the constraints leave a
// way to every target (fewest_full).
//
// The shortest segments are measured whatever the constraints, so that the table also says what a
// constraint costs.
void segments_search(Evaluator& evaluator, const SearchSpace& space, const SearchSink& sink);

// The table that a search left: `measured` as it went to SearchSink::measured, relative to the loss
// of `start`.
SegmentTable segment_table(const Pattern& start, double start_loss,
                           const std::vector<Considered>& measured);

}  // namespace indexcache
