// SPDX-License-Identifier: Apache-2.0
#include "search/greedy.h"

#include "support/catch.h"
#include "support/files.h"
#include "support/session.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

Candidate candidate(std::size_t layer, double loss) {
  return {layer, {loss}, loss};
}

GreedyHooks no_hooks() {
  return {[](std::size_t, const Pattern&) { return std::nullopt; },
          [](std::size_t, const Step&) {}};
}

}  // namespace

TEST_CASE("the smallest loss wins, and the lowest layer among equals") {
  const Pattern full = Pattern::all_full(5);
  const Step step =
      choose(full, {candidate(1, 2.0), candidate(2, 1.5), candidate(3, 1.5), candidate(4, 3.0)});
  CHECK(step.removed == 2);
  CHECK(step.pattern.text() == "FFSFF");
  CHECK(step.loss == 1.5);
  CHECK(step.runner_up == 3u);
  CHECK(step.margin == 0.0);
  const Step after = choose(full, {candidate(1, 2.0), candidate(3, 1.0), candidate(4, 1.25)});
  CHECK(after.runner_up == 4u);
  CHECK(after.margin == 0.25);
  CHECK_FALSE(choose(full, {candidate(4, 1.0)}).runner_up.has_value());
}

TEST_CASE("the search repeats exhaustive comparison step by step, and replays what it is given") {
  Session<> session(golden("deepseek_v32_tiny"));
  TokenSet tokens{"x", {}};
  for (std::int32_t s = 0; s < 2; ++s) {
    tokens.sequences.emplace_back();
    for (std::int32_t t = 0; t < 70; ++t) tokens.sequences.back().push_back((t * t + 31 * s) % 320);
  }
  Evaluator evaluator = session.evaluator(tokens);
  Constraints constraints = Constraints::none(6);
  constraints.pinned_full[2] = true;
  std::vector<Step> recorded;
  GreedyHooks hooks = no_hooks();
  hooks.record = [&](std::size_t index, const Step& step) {
    CHECK(index == recorded.size());
    recorded.push_back(step);
  };
  const auto steps = greedy_search(evaluator, Pattern::all_full(6), constraints, 2, hooks);
  REQUIRE(steps.size() == 4);
  CHECK(steps.back().pattern.full_layers() == std::vector<std::size_t>{0, 2});
  Pattern pattern = Pattern::all_full(6);
  for (const Step& step : steps) {
    double best = 1e9;
    std::size_t layer = 0;
    for (std::size_t other : next_candidates(pattern, constraints, 2)) {
      const Pattern tried = pattern.with_shared(other);
      const double loss = evaluator.mean(evaluator.losses(std::span(&tried, 1)).front());
      if (loss < best) best = loss, layer = other;
    }
    CHECK(step.removed == layer);
    CHECK(step.loss == best);
    pattern = step.pattern;
  }

  hooks.replay = [&](std::size_t index, const Pattern&) -> std::optional<Step> {
    if (index < 3) return recorded[index];
    return std::nullopt;
  };
  std::size_t computed = 0;
  hooks.record = [&](std::size_t, const Step&) { ++computed; };
  const auto resumed = greedy_search(evaluator, Pattern::all_full(6), constraints, 2, hooks);
  CHECK(computed == 1);
  CHECK(resumed.back().loss == steps.back().loss);
}

TEST_CASE("layers pinned to S go first, one a step, and count like any other") {
  Session<> session(golden("deepseek_v32_tiny"));
  TokenSet tokens{"x", {{}}};
  for (std::int32_t t = 0; t < 70; ++t) tokens.sequences[0].push_back((t * 7) % 320);
  Evaluator evaluator = session.evaluator(tokens);
  Constraints constraints = Constraints::none(6);
  constraints.pinned_shared[4] = constraints.pinned_shared[2] = true;
  GreedyHooks hooks = no_hooks();
  hooks.record = [](std::size_t, const Step&) {};
  const auto steps = greedy_search(evaluator, Pattern::all_full(6), constraints, 3, hooks);
  REQUIRE(steps.size() == 3);
  CHECK(steps[0].removed == 2);
  CHECK(steps[0].candidates.size() == 1);
  CHECK(steps[1].removed == 4);
  CHECK(steps[1].pattern.text() == "FFSFSF");
  CHECK(steps[2].candidates.size() == 3);
}

TEST_CASE("a search that is told to stop ends with the steps it has done") {
  Session<> session(golden("deepseek_v32_tiny"));
  TokenSet tokens{"x", {{}}};
  for (std::int32_t t = 0; t < 70; ++t) tokens.sequences[0].push_back((t * 7) % 320);
  Evaluator evaluator = session.evaluator(tokens);
  GreedyHooks hooks = no_hooks();
  hooks.record = [](std::size_t, const Step&) {};
  const Constraints none = Constraints::none(6);
  const auto whole = greedy_search(evaluator, Pattern::all_full(6), none, 2, hooks);
  hooks.stop = [](std::size_t index) { return index == 2; };
  const auto steps = greedy_search(evaluator, Pattern::all_full(6), none, 2, hooks);
  REQUIRE(steps.size() == 2);
  CHECK(steps[1].pattern == whole[1].pattern);
}
