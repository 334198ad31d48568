// SPDX-License-Identifier: Apache-2.0
// Strategies on the losses of all 32,768 patterns of dsa-mini: how far from the best they end.
#include "io/files.h"
#include "io/json.h"
#include "search/greedy.h"
#include "search/swap.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/pattern_table.h"
#include "support/table_evaluator.h"

#include <map>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr std::size_t kLayers = PatternTable::kLayers;
// Two programs' float32 losses, and rounding to 1e-7.
constexpr double kTolerance = 2e-6;

struct Search {
  PatternTable table;
  TableEvaluator evaluator{std::vector<double>(table.sequences(), 2047),
                           [this](const Pattern& p, std::size_t s) { return table.loss(p, s); }};
  SearchSpace space{Pattern::all_full(kLayers), Constraints::none(kLayers), {2}};

  // By number of F layers.
  std::map<std::size_t, PathStep> greedy() {
    std::map<std::size_t, PathStep> steps;
    greedy_search(evaluator, space, [&](PathStep step) {
      const std::size_t full = step.pattern.full_count();
      steps.emplace(full, std::move(step));
    });
    return steps;
  }

  PathStep refined(const PathStep& from) {
    PathStep last = from;
    refine_by_swaps(evaluator, space, {from}, Improvement::any,
                    [&](PathStep step) { last = std::move(step); });
    return last;
  }

  double regret(const Pattern& pattern) const {
    return table.mean(pattern) - table.mean(table.best(pattern.full_count()));
  }
};

}  // namespace

TEST_CASE("greedy takes the path of the reference search") {
  Search search;
  const auto steps = search.greedy();
  const auto path = golden("dsa-mini/reference_search.json");
  const Json reference = parse_json(read_file(path), path.string());
  std::size_t followed = 0;
  for (const Json& expected : reference["trace"]) {
    const Pattern pattern = Pattern::parse(expected["pattern"].get<std::string>());
    const auto found = steps.find(pattern.full_count());
    if (found == steps.end()) continue;
    INFO(pattern.text());
    CHECK(found->second.pattern == pattern);
    CHECK(found->second.loss == Approx(expected["loss"].get<double>()).margin(kTolerance));
    ++followed;
  }
  CHECK(followed == 14);
}

TEST_CASE("swaps end where no single move helps, and mend what greedy cannot undo") {
  Search search;
  // How far greedy, and greedy with swaps, end above the best pattern with so many F layers.
  const std::map<std::size_t, std::pair<double, double>> regrets = {{2, {0.01028, 0}},
                                                                    {3, {0.05255, 0}},
                                                                    {4, {0, 0}},
                                                                    {5, {0, 0}},
                                                                    {6, {0.00312, 0}},
                                                                    {7, {0.00312, 0.00312}},
                                                                    {8, {0.00267, 0.00267}},
                                                                    {9, {0.00287, 0.00266}},
                                                                    {10, {0.00140, 0.00140}},
                                                                    {11, {0.00060, 0.00060}},
                                                                    {12, {0, 0}}};
  const auto steps = search.greedy();
  for (const auto& [full, expected] : regrets) {
    INFO(full << " F layers");
    const PathStep& from = steps.at(full);
    const PathStep to = search.refined(from);
    CHECK(search.regret(from.pattern) == Approx(expected.first).margin(1e-5));
    CHECK(search.regret(to.pattern) == Approx(expected.second).margin(1e-5));
    for (const Pattern& neighbor : swap_neighbors(to.pattern, search.space)) {
      CHECK(search.table.mean(neighbor) >= to.loss);
    }
  }
}

TEST_CASE(
    "the best patterns of a size do not contain one another, so greedy cannot reach them all") {
  const PatternTable table;
  CHECK(table.best(2).text() == "FSSFSSSSSSSSSSSS");
  CHECK(table.best(3).text() == "FSFSSSFSSSSSSSSS");
  CHECK(table.best(4).text() == "FSFSSSSSSFFSSSSS");
}
