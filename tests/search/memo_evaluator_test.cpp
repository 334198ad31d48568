// SPDX-License-Identifier: Apache-2.0
// The evaluators that stand between a strategy and a sweep.
#include "search/memo_evaluator.h"

#include "search/budget_evaluator.h"
#include "search/counting_evaluator.h"
#include "support/catch.h"
#include "support/table_evaluator.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

double example_loss(const Pattern& pattern, std::size_t sequence) {
  return static_cast<double>(pattern.full_count()) + 0.125 * static_cast<double>(sequence);
}

const std::vector<Pattern> kPatterns = {Pattern::parse("FFS"), Pattern::parse("FSF"),
                                        Pattern::parse("FFS")};

}  // namespace

TEST_CASE("a memo asks for no loss twice, and its answers are those of the inner evaluator") {
  TableEvaluator inner({10, 20, 30}, example_loss);
  const auto expected = inner.losses(kPatterns);
  inner.asked.clear();
  LossTable known(3);
  // A part of one pattern is known from before.
  const std::vector<std::size_t> first = {0};
  known.add(kPatterns[1], first, std::vector<double>{expected[1][0]});
  std::size_t recorded = 0;
  MemoEvaluator memo(inner, known,
                     [&](std::span<const Pattern> patterns, std::span<const std::size_t> sequences,
                         std::span<const SequenceLosses> losses, double) {
                       REQUIRE(losses.size() == patterns.size());
                       recorded += patterns.size() * sequences.size();
                     });
  CHECK(memo.losses(kPatterns) == expected);
  CHECK(inner.asked == std::vector<Pattern>{kPatterns[0], kPatterns[1]});
  CHECK(recorded == 3 + 2);
  CHECK(memo.losses(kPatterns) == expected);
  CHECK(inner.asked.size() == 2);
  // Subsets are answered in their own order of sequences.
  const std::vector<std::size_t> some = {0, 2};
  CHECK(memo.losses({std::span(kPatterns).first(1), some}) ==
        std::vector<SequenceLosses>{{expected[0][0], expected[0][2]}});
}

TEST_CASE("what a recorder has not taken is not known") {
  TableEvaluator inner({10, 20}, example_loss);
  LossTable known(2);
  MemoEvaluator memo(inner, known,
                     [](auto, auto, auto, double) { throw std::runtime_error("disk full"); });
  CHECK_THROWS_WITH(memo.losses(kPatterns), "disk full");
  CHECK(known.patterns() == 0);
}

TEST_CASE("a budget refuses what would end after it, and nothing before it knows a rate") {
  TableEvaluator inner({10, 20}, example_loss);
  using Clock = BudgetEvaluator::Clock;
  BudgetEvaluator free(inner, 0, Clock::now());
  CHECK(free.seconds_for(5) == 0);
  CHECK(free.losses(kPatterns).size() == 3);
  CHECK(free.seconds_for(5) > 0);
  BudgetEvaluator spent(inner, 1, Clock::now() - std::chrono::seconds(2));
  CHECK_THROWS_AS(spent.losses(kPatterns), BudgetSpent);
  BudgetEvaluator ample(inner, 1000, Clock::now());
  CHECK(ample.losses(kPatterns).size() == 3);
}

TEST_CASE("a guess grows with the distance of layers from the layer that feeds them") {
  GuessingEvaluator guess({1, 1});
  const auto loss = [&](const char* pattern) {
    return guess.losses_of(Pattern::parse(pattern)).front();
  };
  CHECK(loss("FFFFF") == 0);
  CHECK(loss("FSFFF") == loss("FFFSF"));
  CHECK(loss("FSFSF") < loss("FSSFF"));
  CHECK(loss("FSSFS") < loss("FSSSF"));
}
