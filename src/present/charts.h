// SPDX-License-Identifier: Apache-2.0
// The charts of a report, 480 units wide. Each answers one question, which its title is.
#pragma once

#include "present/run_view.h"
#include "present/svg.h"

#include <cstddef>
#include <string>
#include <vector>

namespace indexcache {

// Which layers run their indexer, and whose set does each other layer take?
Svg pattern_strip(const Pattern& pattern);

// How much do the top-k sets of two layers have in common? Blocks, and the donors of every target
// (groups of class "target", of which the page shows one).
Svg overlap_heatmap(const RunView& view);

// What does each removed indexer cost, and where does the curve bend?
Svg loss_curve(const RunView& view);

// Which layers must keep their indexer?
Svg sensitivity_bars(const RunView& view);

// How does a layer's cost change while its donors vanish?
Svg step_heatmap(const RunView& view);

// Does overlap foretell what sharing costs?
Svg overlap_scatter(const RunView& view);

// Does overlap fall with position? Neighbors, and the donors of one target.
Svg position_lines(const RunView& view, const TargetView& target);

// Is the mean carried by a few sequences?
Svg sequence_bars(const Rise& rise, const std::string& title);

// Curves of several runs on one plot; names beside their ends.
Svg compared_curves(const std::vector<RunView>& runs);

// Overlap of each layer with the one before it, and what sharing that layer alone costs: the points
// of overlap_scatter. Layers that cannot be shared are left out.
struct OverlapCost {
  std::size_t layer;
  double overlap;
  double rise;
};
std::vector<OverlapCost> overlap_costs(const RunView& view);

}  // namespace indexcache
