// SPDX-License-Identifier: Apache-2.0
// Cuts a request into tasks for several workers, by sequence and by subtree of the patterns.
//
// Sequences share nothing, but each task brings the weights to its device again if they are
// streamed. Patterns share the layers on which they agree, which every part of them computes again.
// Which of the two pays depends on how many there are of each, so the cut is the one whose
// estimated time is shortest.
#pragma once

#include "search/sweep_cost.h"

#include <cstddef>
#include <span>
#include <vector>

namespace indexcache {

struct CutTask {
  std::vector<std::size_t> patterns;   // positions in the request
  std::vector<std::size_t> sequences;  // positions in the token set, ascending
  SweepEstimate estimate;
};

// Together all patterns on all sequences, each pair once; longest task first. One task for one
// worker. `patterns` and `sequences` are not empty.
std::vector<CutTask> cut_sweep(std::span<const Pattern> patterns,
                               std::span<const std::size_t> sequences, SweepCost& cost,
                               std::size_t workers);

// When the last worker is done if each takes the next task as soon as it is free, in this order.
double spread_seconds(std::span<const CutTask> tasks, std::size_t workers);

// Positions of the patterns in `parts` (or fewer) groups of about equal work. Each group is a range
// of the patterns in lexicographic order, so that those with long common prefixes stay together.
std::vector<std::vector<std::size_t>> subtrees(std::span<const Pattern> patterns,
                                               std::size_t parts);

}  // namespace indexcache
