// SPDX-License-Identifier: Apache-2.0
#include "search/swap.h"

#include "support/catch.h"
#include "support/table_evaluator.h"

#include <algorithm>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Two layers that are only good together: greedy from FFFFFF does not end at them.
double joint_loss(const Pattern& pattern) {
  double loss = 0;
  for (std::size_t layer = 1; layer < pattern.layers(); ++layer) {
    if (!pattern.is_full(layer)) loss += static_cast<double>(layer);
  }
  if (pattern.is_full(1) && pattern.is_full(2)) loss -= 9;
  return loss;
}

}  // namespace

TEST_CASE("neighbors move one F, keep the constraints and what has no indexer") {
  SearchSpace space{Pattern::parse("FFFSFF"), Constraints::none(6), {3}};
  std::vector<std::string> texts;
  for (const Pattern& pattern : swap_neighbors(Pattern::parse("FFSSFS"), space)) {
    texts.push_back(pattern.text());
  }
  CHECK(texts == std::vector<std::string>{"FSFSFS", "FSSSFF", "FFFSSS", "FFSSSF"});
  space.constraints.pinned_full[1] = true;
  space.constraints.max_run = 3;
  texts.clear();
  for (const Pattern& pattern : swap_neighbors(Pattern::parse("FFSSFS"), space)) {
    texts.push_back(pattern.text());
  }
  CHECK(texts == std::vector<std::string>{"FFFSSS", "FFSSSF"});
}

TEST_CASE("swaps end at a pattern that no swap improves, and never get worse") {
  TableEvaluator evaluator({1}, [](const Pattern& p, std::size_t) { return joint_loss(p); });
  const SearchSpace space{Pattern::all_full(6), Constraints::none(6), {3}};
  const Pattern start = Pattern::parse("FSSSFF");
  std::vector<PathStep> steps;
  refine_by_swaps(evaluator, space, {{start, joint_loss(start), {}}}, Improvement::any,
                  [&](PathStep step) { steps.push_back(std::move(step)); });
  double loss = joint_loss(start);
  for (const PathStep& step : steps) {
    CHECK(step.loss < loss);
    CHECK(step.pattern.full_count() == 3);
    loss = step.loss;
  }
  const Pattern last = steps.empty() ? start : steps.back().pattern;
  for (const Pattern& neighbor : swap_neighbors(last, space)) CHECK(joint_loss(neighbor) >= loss);
  // From a neighbor of the optimum it is found.
  steps.clear();
  const Pattern near = Pattern::parse("FFSSSF");
  refine_by_swaps(evaluator, space, {{near, joint_loss(near), {}}}, Improvement::any,
                  [&](PathStep step) { steps.push_back(std::move(step)); });
  REQUIRE(steps.size() == 1);
  CHECK(steps[0].pattern.text() == "FFFSSS");
}
