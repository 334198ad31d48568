// SPDX-License-Identifier: Apache-2.0
// Races on the losses of all 32,768 patterns of dsa-mini, whose full evaluation is known.
#include "search/race.h"

#include "search/greedy.h"
#include "search/paired.h"
#include "search/student_t.h"
#include "search/swap.h"
#include "support/catch.h"
#include "support/segment_run.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr std::uint64_t kOrders = 200;
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// How a race's decision relates to that of the full evaluation.
struct Agreement {
  std::size_t equal = 0;
  std::size_t tied = 0;  // worse by less than the paired standard error
  std::size_t missed = 0;

  void add(SegmentRun& search, const Pattern& raced, const Pattern& full) {
    const SequenceLosses a = search.evaluator.losses_of(raced),
                         b = search.evaluator.losses_of(full);
    if (raced == full || search.table.mean(raced) <= search.table.mean(full)) {
      ++equal;
    } else if (search.table.mean(raced) - search.table.mean(full) <=
               *standard_error(a, b, search.evaluator.weights())) {
      ++tied;
    } else {
      ++missed;
    }
  }

  double share() const {
    return static_cast<double>(equal + tied) / static_cast<double>(equal + tied + missed);
  }
};

// Pairs of a pattern and a sequence.
struct Pairs {
  std::size_t measured = 0;
  std::size_t all = 0;

  void add(const std::vector<Considered>& patterns, std::size_t sequences) {
    for (const Considered& considered : patterns) {
      measured += considered.losses.size();
      all += sequences;
    }
  }

  double saved() const { return 1 - static_cast<double>(measured) / static_cast<double>(all); }
};

}  // namespace

TEST_CASE("rounds double, and together they are all sequences once") {
  for (const std::size_t sequences : {4u, 6u, 7u, 8u, 13u, 64u}) {
    const auto rounds = race_rounds(sequences, 7);
    std::set<std::size_t> seen;
    for (std::size_t r = 0; r < rounds.size(); ++r) {
      CHECK(std::ranges::is_sorted(rounds[r]));
      if (r > 0 && r + 1 < rounds.size()) CHECK(rounds[r].size() == seen.size());
      seen.insert(rounds[r].begin(), rounds[r].end());
    }
    CHECK(rounds.front().size() == kFirstRound);
    CHECK(seen.size() == sequences);
    CHECK(*seen.rbegin() == sequences - 1);
    CHECK(race_rounds(sequences, 7) == rounds);
  }
  CHECK(race_rounds(64, 1) != race_rounds(64, 2));
}

TEST_CASE("the bound is Student's for a part of a finite set, and closes at its end") {
  const std::vector<double> weights(4, 10.0);
  const std::vector<double> some = {1.0, kUnknown, 3.0, kUnknown};
  // Mean 2, s = sqrt(2); the error is s / sqrt(2) * sqrt(1 - 2 / 4).
  CHECK(lower_confidence_bound(some, weights, 0.975) ==
        Approx(2 - student_t_quantile(0.975, 1) * std::sqrt(0.5)));
  CHECK(lower_confidence_bound(std::vector<double>{1, 2, 3, 6}, weights, 0.975) == Approx(3));
  CHECK(std::isinf(
      lower_confidence_bound(std::vector<double>{1, kUnknown, kUnknown, kUnknown}, weights, 0.9)));
  CHECK_FALSE(lower_confidence_bound(some, weights, 1) > 0);
}

TEST_CASE("a race that nobody leaves is the full evaluation") {
  SegmentRun search({4});
  const std::vector<Pattern> patterns = swap_neighbors(search.table.best(4), search.space);
  const RaceJudge keeps = keeps_possible_winners(search.evaluator);
  const auto all = search.evaluator.losses(patterns);
  CHECK(race(search.evaluator, std::nullopt, patterns, keeps) == all);
  CHECK(race(search.evaluator, RaceRules{1, 0}, patterns, keeps) == all);
}

TEST_CASE("what left a race is estimated from its differences to a pattern that was measured") {
  SegmentRun search({4});
  const Pattern pattern = search.table.best(4);
  const SequenceLosses reference = search.evaluator.losses_of(search.space.start);
  SequenceLosses losses = search.evaluator.losses_of(pattern);
  CHECK(raced(search.evaluator, pattern, losses, reference).complete());
  CHECK(raced(search.evaluator, pattern, losses, reference).loss == search.evaluator.mean(losses));
  for (std::size_t s = 2; s < losses.size(); ++s) losses[s] = kUnknown;
  const Considered considered = raced(search.evaluator, pattern, losses, reference);
  CHECK(considered.sequences == std::vector<std::size_t>{0, 1});
  CHECK(considered.loss == Approx(search.evaluator.mean(reference) +
                                  (losses[0] + losses[1] - reference[0] - reference[1]) / 2));
}

TEST_CASE("segments that race are chosen as without races, with fewer evaluations") {
  for (const std::vector<std::size_t>& targets :
       {std::vector<std::size_t>{8, 4, 2}, std::vector<std::size_t>{4},
        std::vector<std::size_t>{6, 5, 3}}) {
    SegmentRun full(targets);
    full.run();
    std::vector<Agreement> agreements(targets.size());
    Pairs pairs;
    for (std::uint64_t order = 0; order < kOrders; ++order) {
      SegmentRun search(targets);
      search.space.races = RaceRules{0.95, order};
      search.run();
      for (std::size_t t = 0; t < targets.size(); ++t) {
        agreements[t].add(full, search.steps[t].pattern, full.steps[t].pattern);
        for (const Considered& considered : search.steps[t].considered) {
          CHECK(considered.complete());
        }
      }
      pairs.add(search.measured, search.table.sequences());
    }
    for (std::size_t t = 0; t < targets.size(); ++t) {
      WARN(targets[t] << " F layers of " << targets.size() << " targets: " << agreements[t].equal
                      << " orders agree, " << agreements[t].tied << " are ties, "
                      << agreements[t].missed << " miss");
      CHECK(agreements[t].share() >= 0.95);
    }
    WARN("evaluations of segments saved: " << pairs.saved());
    CHECK(pairs.saved() > 0.2);
  }
}

TEST_CASE("swaps that race end where they would without races, with fewer evaluations") {
  SegmentRun full({4});
  const auto refine = [&](const Pattern& from, std::optional<RaceRules> races,
                          std::vector<Considered>& considered) {
    SearchSpace space = full.space;
    space.races = races;
    Pattern last = from;
    refine_by_swaps(
        full.evaluator, space, {{from, full.table.mean(from), {}}}, Improvement::beyond_error,
        {[&](PathStep step) {
           last = step.pattern;
           considered.insert(considered.end(), step.considered.begin(), step.considered.end());
         },
         {},
         {}});
    return last;
  };
  for (const char* start : {"FSSSFSSSFSSSFSSS", "FSFSFSFSFSFSFSFS", "FFFFSSSSSSSSSSSS"}) {
    std::vector<Considered> considered;
    const Pattern from = Pattern::parse(start);
    const Pattern without = refine(from, std::nullopt, considered);
    Agreement agreement;
    Pairs pairs;
    for (std::uint64_t order = 0; order < kOrders; ++order) {
      considered.clear();
      agreement.add(full, refine(from, RaceRules{0.95, order}, considered), without);
      pairs.add(considered, full.table.sequences());
    }
    WARN("swaps from " << start << ": " << agreement.equal << " orders agree, " << agreement.tied
                       << " are ties, " << agreement.missed << " miss; saved " << pairs.saved());
    CHECK(agreement.share() >= 0.95);
    CHECK(pairs.saved() > 0.2);
  }
}

TEST_CASE("greedy races only if it is asked to, and then each step decides alike") {
  SegmentRun full({2});
  std::vector<PathStep> steps;
  greedy_search(full.evaluator, full.space, [&](PathStep step) { steps.push_back(step); });
  Agreement agreement;
  Pairs pairs;
  for (std::uint64_t order = 0; order < kOrders; ++order) {
    const RaceRules rules{0.95, order};
    for (const PathStep& step : steps) {
      std::vector<Pattern> candidates;
      for (const Considered& considered : step.considered) candidates.push_back(considered.pattern);
      const PathStep raced = race_for_best(full.evaluator, rules, candidates,
                                           full.evaluator.losses_of(full.space.start));
      agreement.add(full, raced.pattern, step.pattern);
      pairs.add(raced.considered, full.table.sequences());
    }
  }
  WARN("greedy steps: " << agreement.equal << " agree, " << agreement.tied << " are ties, "
                        << agreement.missed << " miss; saved " << pairs.saved());
  CHECK(agreement.share() >= 0.95);
  CHECK(pairs.saved() > 0.2);
}
