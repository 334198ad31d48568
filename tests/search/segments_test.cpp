// SPDX-License-Identifier: Apache-2.0
// Search by segments on the losses of all 32,768 patterns of dsa-mini.
#include "search/segments.h"

#include "search/greedy.h"
#include "search/memo_evaluator.h"
#include "search/predicted_sizes.h"
#include "search/segment_paths.h"
#include "search/swap.h"
#include "search/visits.h"
#include "support/catch.h"
#include "support/layers.h"
#include "support/segment_run.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::vector<std::size_t> sizes_2_to_12() {
  std::vector<std::size_t> sizes;
  for (std::size_t full = 12; full >= 2; --full) sizes.push_back(full);
  return sizes;
}

}  // namespace

TEST_CASE("the cheapest paths over segments are almost the best patterns of every size") {
  SegmentRun search(sizes_2_to_12());
  search.run();
  const SegmentPaths paths(search.segments(), search.space.constraints, 1);
  const std::set<std::size_t> equal = {2, 3, 4, 5, 6, 8};
  for (std::size_t full = 2; full <= 12; ++full) {
    INFO(full << " F layers");
    const Pattern pattern = paths.of(full).front().pattern(PatternTable::kLayers);
    CHECK(pattern.full_count() == full);
    CHECK(search.regret(pattern) <= (equal.contains(full) ? 0 : 0.001));
  }
}

TEST_CASE("segments find the same for each size by itself") {
  for (std::size_t full = 2; full <= 12; ++full) {
    INFO(full << " F layers");
    SegmentRun search({full});
    search.run();
    REQUIRE(search.steps.size() == 1);
    CHECK(search.steps[0].considered.size() == kMeasuredPaths);
    CHECK(search.regret(search.steps[0].pattern) <= 0.0003);
  }
}

TEST_CASE("the cheapest four measured, and swaps, are the best pattern of every size") {
  SegmentRun search(sizes_2_to_12());
  search.run();
  const SegmentTable segments = search.segments();
  const auto predict = [&](const Pattern& pattern) -> std::optional<double> {
    const auto increase = segments.predict(pattern);
    return increase ? std::optional(search.start_loss() + *increase) : std::nullopt;
  };
  double error = 0;
  for (const PathStep& step : search.steps) {
    for (const Considered& considered : step.considered) {
      error = std::max(error, std::abs(considered.loss - *predict(considered.pattern)));
    }
  }
  for (const PathStep& step : search.steps) {
    PathStep last = step;
    Neighborhood around;
    refine_by_swaps(search.evaluator, search.space, {step, predict, error}, Improvement::any,
                    {[&](PathStep next) { last = std::move(next); },
                     {},
                     [&](Neighborhood end) { around = end; }});
    INFO(step.pattern.full_count() << " F layers");
    CHECK(search.regret(last.pattern) == 0);
    CHECK(around.considered.size() <= around.patterns);
  }
}

namespace {

// Layers that are computed for one stream, over all requests: what a sweep does with shared
// prefixes.
class CountVisits : public Evaluator {
 public:
  explicit CountVisits(Evaluator& inner) : Evaluator(inner.weights()), inner_(inner) {}

  using Evaluator::losses;
  std::vector<SequenceLosses> losses(const LossRequest& request) override {
    visits +=
        count_visits(request.patterns, of_layers(PatternTable::kLayers, false)).stream_layers();
    return inner_.losses(request);
  }

  std::int64_t visits = 0;

 private:
  Evaluator& inner_;
};

// Visits of a strategy that measures nothing twice.
std::int64_t visits_of(void (*strategy)(Evaluator&, const SearchSpace&, const SearchSink&),
                       std::vector<std::size_t> targets) {
  SegmentRun search(std::move(targets));
  CountVisits counting(search.evaluator);
  LossTable known(search.table.sequences());
  MemoEvaluator memo(counting, known);
  memo.losses_of(search.space.start);
  counting.visits = 0;
  strategy(memo, search.space, [](const PathStep&) {});
  return counting.visits;
}

}  // namespace

TEST_CASE("segments need fewer layer visits than greedy") {
  const auto all = static_cast<double>(visits_of(segments_search, {8, 4, 2})) /
                   static_cast<double>(visits_of(greedy_search, {2}));
  const auto quarter = static_cast<double>(visits_of(segments_search, {4})) /
                       static_cast<double>(visits_of(greedy_search, {4}));
  INFO("1/2, 1/4 and 1/8: " << all << " of greedy, 1/4: " << quarter);
  CHECK(all <= 0.75);
  CHECK(quarter <= 0.55);
}

TEST_CASE("constraints are forbidden segments: the best pattern among those that are allowed") {
  const auto check = [](const std::function<void(Constraints&)>& constrain) {
    for (const std::size_t full : {5, 6, 8}) {
      SegmentRun search({full});
      constrain(search.space.constraints);
      search.run();
      const Pattern& found = search.steps.at(0).pattern;
      INFO(full << " F layers, " << found.text());
      CHECK(search.space.holds(found));
      CHECK(found ==
            search.table.best(full, [&](const Pattern& p) { return search.space.holds(p); }));
    }
  };
  // The first layers of four pipeline stages.
  check([](Constraints& c) { c.pinned_full[4] = c.pinned_full[8] = c.pinned_full[12] = true; });
  check([](Constraints& c) { c.max_run = 5; });
  check([](Constraints& c) { c.pinned_shared[2] = c.pinned_full[3] = true; });
}

TEST_CASE("layers without an indexer are part of segments, and never F") {
  SegmentRun search({3});
  search.space.start = Pattern::parse("FFSFFFFFSSFFFFFF");
  search.run();
  const Pattern& found = search.steps.at(0).pattern;
  CHECK(search.space.holds(found));
  CHECK(found == search.table.best(3, [&](const Pattern& p) { return search.space.holds(p); }));
  const SegmentTable segments = search.segments();
  CHECK(segments.cost({1, 3}) == 0);  // it shares nothing that is not shared anyway
  CHECK(segments.ends(2).empty());
  CHECK_FALSE(segments.cost({1, 2}));
}

TEST_CASE("a longer segment is assumed to cost what the row did, less what costs fell anywhere") {
  SegmentTable table(Pattern::all_full(6));
  table.set({0, 2}, 0.5);
  table.set({0, 3}, 0.4);
  table.set({1, 3}, 0.2);
  CHECK(table.fall() == Approx(0.1));
  CHECK(table.bound({0, 4}) == Approx(0.4));
  CHECK(table.bound({1, 4}) == Approx(0.1));
  CHECK(table.bound({0, 3}) == Approx(0.4));  // measured
  CHECK_FALSE(table.predict(Pattern::parse("FSSSFF")));
  table.set({2, 4}, 0.3);
  CHECK(*table.predict(Pattern::parse("FSFSFF")) == Approx(0.8));
}

TEST_CASE("sizes that need a segment that was not measured are not predicted") {
  SegmentRun search({4});
  search.run();
  const SegmentTable segments = search.segments();
  const Constraints none = Constraints::none(PatternTable::kLayers);
  const auto four = predicted_size(segments, none, 4);
  REQUIRE(four);
  CHECK(four->pattern == search.table.best(4));
  CHECK(four->increase == Approx(*segments.predict(four->pattern)));
  CHECK_FALSE(predicted_size(segments, none, 1));  // one segment of all layers
  const auto sizes = predicted_sizes(segments, none);
  CHECK(sizes.front().full == 16);
  CHECK(sizes.front().increase == 0);
  CHECK(std::ranges::count(sizes, std::size_t{1}, &PredictedSize::full) == 0);
}

TEST_CASE("the price of a constraint needs no evaluation") {
  SegmentRun search({8, 6, 4});
  search.run();
  const SegmentTable segments = search.segments();
  const Constraints none = Constraints::none(PatternTable::kLayers);
  Constraints stages = none;
  stages.pinned_full[4] = stages.pinned_full[8] = stages.pinned_full[12] = true;
  const auto with = predicted_size(segments, both(stages, none), 8);
  const auto without = predicted_size(segments, none, 8);
  REQUIRE((with && without));
  SearchSpace staged = search.space;
  staged.constraints = stages;
  const double paid =
      search.table.mean(search.table.best(8, [&](const Pattern& p) { return staged.holds(p); })) -
      search.table.mean(search.table.best(8));
  CHECK(with->increase - without->increase == Approx(paid).margin(0.003));
  Constraints runs = none;
  runs.max_run = 1;
  CHECK_FALSE(predicted_size(segments, runs, 7));
  CHECK_FALSE(is_possible(segments, runs, 7));  // eight F layers at least
  CHECK(is_possible(segments, runs, 8));
  CHECK(is_possible(segments, none, 1));  // though it was not measured
}

TEST_CASE("constraints are joined: every pin of either, and the shorter run") {
  Constraints run = Constraints::none(4);
  run.pinned_full[1] = true;
  run.max_run = 3;
  Constraints others = Constraints::none(4);
  others.pinned_full[2] = others.pinned_shared[3] = true;
  const Constraints joined = both(run, others);
  CHECK(joined.pinned_full == std::vector<bool>{false, true, true, false});
  CHECK(joined.pinned_shared == others.pinned_shared);
  CHECK(joined.max_run == 3);  // no limit of the others
  others.max_run = 2;
  CHECK(both(run, others).max_run == 2);
}
