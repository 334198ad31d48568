// SPDX-License-Identifier: Apache-2.0
// The charts of a report, 480 units wide. Each answers one question, which its title is.
#pragma once

#include "present/report.h"
#include "present/svg.h"

#include <cstddef>
#include <string>
#include <vector>

namespace indexcache {

// Which layers run their indexer, and whose set does each other layer take?
Svg pattern_strip(const Pattern& pattern);

// How much do the top-k sets of two layers have in common? Blocks, and the donors of every target
// (groups of class "target", of which the page shows one).
Svg overlap_heatmap(const Report& report);

// What does each removed indexer cost, and where does the curve bend? One curve per search.
Svg loss_curve(const Result& result);

// Which layers must keep their indexer?
Svg sensitivity_bars(const Result& result);

// How does each layer's cost change as donors are removed?
Svg step_heatmap(const Result& result);

// Does overlap predict what sharing costs?
Svg overlap_scatter(const Report& report);

// Does overlap fall with position? Neighbors, and the donors of one target.
Svg position_lines(const Report& report, const Target& target);

// Do a few sequences dominate the mean?
Svg sequence_bars(const Measured& measured, const std::string& title);

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
