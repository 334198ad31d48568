// SPDX-License-Identifier: Apache-2.0
// A search by segments on the losses of all patterns of dsa-mini.
#pragma once

#include "search/segments.h"
#include "support/pattern_table.h"
#include "support/table_evaluator.h"

#include <cstddef>
#include <utility>
#include <vector>

namespace indexcache::test {

// Read once.
inline const PatternTable& all_losses() {
  static const PatternTable table;
  return table;
}

struct SegmentRun {
  const PatternTable& table = all_losses();
  TableEvaluator evaluator{std::vector<double>(table.sequences(), 2047),
                           [this](const Pattern& p, std::size_t s) { return table.loss(p, s); }};
  SearchSpace space{
      Pattern::all_full(PatternTable::kLayers), Constraints::none(PatternTable::kLayers), {}};
  std::vector<PathStep> steps;
  std::vector<Considered> measured;

  explicit SegmentRun(std::vector<std::size_t> targets) { space.targets = std::move(targets); }

  void run() {
    steps.clear();
    segments_search(evaluator, space,
                    {[&](PathStep step) { steps.push_back(std::move(step)); },
                     [&](std::vector<Considered> patterns) { measured = std::move(patterns); },
                     {}});
  }

  double start_loss() const { return table.mean(space.start); }
  SegmentTable segments() const { return segment_table(space.start, start_loss(), measured); }

  double regret(const Pattern& pattern) const {
    return table.mean(pattern) - table.mean(table.best(pattern.full_count()));
  }
};

}  // namespace indexcache::test
