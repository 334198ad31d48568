// SPDX-License-Identifier: Apache-2.0
// The charts of a report, 480 units wide. Each answers one question, which its title is.
#pragma once

#include "present/report.h"
#include "present/segments_report.h"
#include "present/svg.h"

#include <cstddef>
#include <string>
#include <vector>

namespace indexcache {

// Which layers run their indexer, and whose set does each other layer take?
Svg pattern_strip(const Pattern& pattern, const LayerNumbers& numbers = {});

// How much do the top-k sets of two layers have in common? Blocks, and the donors of every target
// (groups of class "target", of which the page shows one).
Svg overlap_heatmap(const Report& report);

// Which layers may an F layer feed, and at what cost? The cost of every segment, with the segments
// of every target (groups as in overlap_heatmap).
Svg segment_triangle(const Result& result, const SegmentsReport& segments);

// Do the losses of segments add up? Predicted against measured; of at least one pattern.
Svg prediction_scatter(const SegmentsReport& segments);

// What does each removed indexer cost, and where does the curve bend? One curve per search, and
// what segments predict; `segments` is null if no search measured any.
Svg loss_curve(const Result& result, const SegmentsReport* segments);

// Which layers must keep their indexer?
Svg sensitivity_bars(const Result& result);

// How does each layer's cost change as donors are removed?
Svg step_heatmap(const Result& result);

// Does overlap predict what sharing costs?
Svg overlap_scatter(const Report& report);

// Does overlap fall with position? Neighbors, and the donors of one target.
Svg position_lines(const Report& report, const Target& target);

// Do a few sequences dominate the mean? `value` names the axis of their differences.
Svg sequence_bars(const PairedDifference& differences, const std::string& title,
                  const std::string& value = "loss increase, nats per token");

// Curves of several runs on one plot; names next to their ends.
Svg compared_curves(const std::vector<Report>& runs);

// Overlap of each layer with the one before it, and what sharing only that layer costs: the points
// of overlap_scatter. Layers that cannot be shared are left out.
struct OverlapCost {
  std::size_t layer;
  double overlap;
  double rise;
};
std::vector<OverlapCost> overlap_costs(const Report& report);

}  // namespace indexcache
