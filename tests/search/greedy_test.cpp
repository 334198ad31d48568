// SPDX-License-Identifier: Apache-2.0
#include "search/greedy.h"

#include "support/catch.h"
#include "support/files.h"
#include "support/session.h"
#include "support/table_evaluator.h"

#include <map>

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::vector<PathStep> greedy_steps(Evaluator& evaluator, const SearchSpace& space) {
  std::vector<PathStep> steps;
  greedy_search(evaluator, space, [&](PathStep step) { steps.push_back(std::move(step)); });
  return steps;
}

SearchSpace free_space(std::size_t layers, std::size_t target) {
  return {Pattern::all_full(layers), Constraints::none(layers), {target}};
}

}  // namespace

TEST_CASE("the smallest loss wins, and the lowest layer among equals") {
  const std::map<std::string, double> table = {
      {"FSFFF", 2.0}, {"FFSFF", 1.5}, {"FFFSF", 1.5}, {"FFFFS", 3.0}};
  TableEvaluator evaluator({1}, [&](const Pattern& p, std::size_t) { return table.at(p.text()); });
  const auto steps = greedy_steps(evaluator, free_space(5, 4));
  REQUIRE(steps.size() == 1);
  CHECK(steps[0].pattern.text() == "FFSFF");
  CHECK(steps[0].loss == 1.5);
  REQUIRE(runner_up(steps[0]) != nullptr);
  CHECK(runner_up(steps[0])->pattern.text() == "FFFSF");
  CHECK(runner_up(steps[0])->loss == 1.5);
  CHECK(newly_shared(Pattern::all_full(5), steps[0].pattern) == std::vector<std::size_t>{2});
  CHECK(runner_up(PathStep{steps[0].pattern, 1.5, {steps[0].considered[1]}}) == nullptr);
}

TEST_CASE("the search repeats exhaustive comparison step by step") {
  Session<> session(golden("deepseek_v32_tiny"));
  TokenSet tokens{"x", {}};
  for (std::int32_t s = 0; s < 2; ++s) {
    tokens.sequences.emplace_back();
    for (std::int32_t t = 0; t < 70; ++t) tokens.sequences.back().push_back((t * t + 31 * s) % 320);
  }
  SweepEvaluator evaluator = session.evaluator(tokens);
  SearchSpace space = free_space(6, 2);
  space.constraints.pinned_full[2] = true;
  const auto steps = greedy_steps(evaluator, space);
  REQUIRE(steps.size() == 4);
  CHECK(steps.back().pattern.full_layers() == std::vector<std::size_t>{0, 2});
  Pattern pattern = space.start;
  for (const PathStep& step : steps) {
    double best = 1e9;
    std::size_t layer = 0;
    for (std::size_t other : next_candidates(pattern, space.constraints, 2)) {
      const double loss = evaluator.mean(evaluator.losses_of(pattern.with_shared(other)));
      if (loss < best) best = loss, layer = other;
    }
    CHECK(step.pattern == pattern.with_shared(layer));
    CHECK(step.loss == best);
    pattern = step.pattern;
  }
}

TEST_CASE("layers pinned to S go first, one per step, and count like any other") {
  TableEvaluator evaluator({1}, [](const Pattern&, std::size_t) { return 1.0; });
  SearchSpace space = free_space(6, 3);
  space.constraints.pinned_shared[4] = space.constraints.pinned_shared[2] = true;
  const auto steps = greedy_steps(evaluator, space);
  REQUIRE(steps.size() == 3);
  CHECK(steps[0].pattern.text() == "FFSFFF");
  CHECK(steps[0].considered.size() == 1);
  CHECK(steps[1].pattern.text() == "FFSFSF");
  CHECK(steps[2].considered.size() == 3);
}

TEST_CASE("the steps before an evaluator gives up are kept") {
  std::size_t left = 5 + 4;
  TableEvaluator evaluator({1}, [&](const Pattern& p, std::size_t) -> double {
    if (left-- == 0) throw std::runtime_error("enough");
    return static_cast<double>(p.full_count());
  });
  std::vector<PathStep> steps;
  CHECK_THROWS_WITH(greedy_search(evaluator, free_space(6, 2),
                                  [&](PathStep step) { steps.push_back(std::move(step)); }),
                    "enough");
  REQUIRE(steps.size() == 2);
  CHECK(steps[1].pattern.text() == "FSSFFF");
}
