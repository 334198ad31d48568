// SPDX-License-Identifier: Apache-2.0
// What a run decides, on the losses of all 32,768 patterns of dsa-mini.
#include "run/search_run.h"

#include "core/error.h"
#include "run/holdout.h"
#include "run/size_search.h"
#include "search/paired.h"
#include "support/catch.h"
#include "support/table_instruments.h"

#include <algorithm>
#include <cmath>

using namespace indexcache;
using namespace indexcache::test;

namespace {

SearchSubject subject_of(const std::vector<std::size_t>& sizes) {
  SearchSubject subject{.space = {Pattern::all_full(PatternTable::kLayers),
                                  Constraints::none(PatternTable::kLayers),
                                  {}},
                        .requests = {},
                        .strategies = {},
                        .refinement = find_refinement("swap"),
                        .data = {},
                        .warnings = {}};
  for (const Strategy& strategy : strategies()) subject.strategies.push_back(&strategy);
  for (const std::size_t size : sizes) subject.requests.push_back({std::to_string(size), size});
  subject.space.races = RaceRules{};
  subject.data.holdout.emplace();
  return subject;
}

SearchOutcome quiet_search(const SearchSubject& subject, TableInstruments& instruments) {
  Progress progress(Progress::Style::silent);
  return search_run(subject, instruments, progress);
}

SearchOutcome quiet_search(const SearchSubject& subject) {
  TableInstruments instruments;
  return quiet_search(subject, instruments);
}

// Upper end of the interval of the loss increase.
double upper_end(const Pattern& pattern) {
  TableInstruments instruments;
  Evaluator& evaluator = instruments.verification();
  return paired_difference(evaluator.losses_of(pattern),
                           evaluator.losses_of(Pattern::all_full(PatternTable::kLayers)),
                           evaluator.weights())
      .ci95->second;
}

}  // namespace

TEST_CASE("a default run takes the better strategy's pattern and says by how much it is better") {
  const SearchOutcome outcome = quiet_search(subject_of({6, 4, 3}));
  REQUIRE(outcome.targets.size() == 3);
  for (const Target& target : outcome.targets) {
    INFO(target.request << " F layers");
    const Pattern& chosen = target.calibration.pattern;
    REQUIRE(target.strategies.size() == 2);
    CHECK(target.strategies[0].method == "segments");
    CHECK(target.strategies[1].method == "greedy");
    for (const Contender& strategy : target.strategies) {
      const double more = all_losses().mean(strategy.pattern) - all_losses().mean(chosen);
      CHECK(strategy.difference == Approx(more).margin(1e-9));
      CHECK(strategy.difference >= 0);
      CHECK(strategy.ci95->first <= strategy.difference);
    }
    CHECK(all_losses().mean(chosen) - all_losses().mean(all_losses().best(chosen.full_count())) <
          0.001);
  }
  // On 3 F layers greedy is 0.05 behind, and the data can tell.
  const Target& three = outcome.targets[2];
  CHECK(three.calibration.pattern == all_losses().best(3));
  CHECK(three.method == "segments");
  CHECK(three.strategies[0].difference == 0);
  CHECK(three.strategies[1].difference == Approx(0.05255).margin(1e-4));
}

TEST_CASE("ties are the measured patterns that the data cannot tell from the chosen one") {
  const SearchOutcome outcome = quiet_search(subject_of({8}));
  const Target& target = outcome.targets.at(0);
  REQUIRE_FALSE(target.ties.empty());
  TableInstruments instruments;
  Evaluator& evaluator = instruments.verification();
  double before = -1;
  for (const Contender& tie : target.ties) {
    CHECK(tie.pattern.full_count() == 8);
    CHECK(tie.pattern != target.calibration.pattern);
    const auto difference = paired_difference(evaluator.losses_of(tie.pattern),
                                              target.calibration.losses, evaluator.weights());
    CHECK(tie.ci95 == difference.ci95);
    CHECK(tie.ci95->first <= 0);
    CHECK(tie.ci95->second >= 0);
    CHECK(tie.difference >= before);
    before = tie.difference;
  }
}

TEST_CASE("chosen patterns are compared with others of their size on held-out data") {
  const SearchOutcome outcome = quiet_search(subject_of({4}));
  const Target& target = outcome.targets.at(0);
  std::vector<std::string> names;
  for (const ComparedPattern& other : target.compared) {
    names.push_back(other.name);
    CHECK(other.holdout.pattern.full_count() == 4);
    CHECK(other.holdout.loss == Approx(all_losses().mean(other.holdout.pattern)).margin(1e-9));
  }
  CHECK(names == std::vector<std::string>{"overlap", "segments", "greedy"});
  REQUIRE(target.random_holdout);
  CHECK(target.random_holdout->patterns == kRandomPatterns);
  CHECK(target.random_holdout->least <= target.random_holdout->mean);
  CHECK(target.random_holdout->mean <= target.random_holdout->most);
  CHECK(target.random_holdout->mean > target.holdout->delta.mean);
}

TEST_CASE("a maximal rise finds the fewest indexers that stay within it") {
  for (const double rise : {0.004, 0.01, 0.03, 0.4}) {
    SearchSubject subject = subject_of({});
    subject.refinement = nullptr;
    subject.max_rise = rise;
    const SearchOutcome outcome = quiet_search(subject);
    REQUIRE(outcome.targets.size() == 1);
    const Target& target = outcome.targets[0];
    INFO(rise << ": " << target.calibration.pattern.text());
    CHECK(target.request == max_rise_text(rise));
    CHECK(target.calibration.delta.ci95->second <= rise);
    // The next smaller size does not, whatever its best pattern is.
    const std::size_t full = target.calibration.pattern.full_count();
    CHECK(upper_end(all_losses().best(full - 1)) > rise);
    CHECK(outcome.warnings.empty());
  }
}

TEST_CASE("a maximal rise that held-out data do not confirm takes one more indexer, and says so") {
  SearchSubject subject = subject_of({8});
  subject.max_rise = 0.4;
  const std::size_t full = quiet_search(subject).targets.back().calibration.pattern.full_count();
  for (const bool confirmed : {true, false}) {
    // Held-out sequences on which fewer than full + 1 (or more) F layers cost a whole nat.
    TableInstruments instruments([&](const Pattern& pattern, double loss) {
      const bool hurts = pattern.full_count() < full + (confirmed ? 1 : 2);
      return loss + (hurts ? 1 : 0);
    });
    const SearchOutcome outcome = quiet_search(subject, instruments);
    REQUIRE(outcome.targets.size() == 2);
    CHECK(outcome.targets[0].request == "8");
    CHECK(outcome.targets[1].request == "max-rise 0.4");
    CHECK(outcome.targets[1].calibration.pattern.full_count() == full + 1);
    CHECK(outcome.targets[1].holdout);
    REQUIRE(outcome.warnings.size() == 1);
    CHECK_THAT(outcome.warnings[0],
               Contains("do not keep") && Contains(confirmed ? "which do" : "do not either"));
  }
}

TEST_CASE("an explicit target of one indexer more takes over an unconfirmed maximal rise") {
  SearchSubject subject = subject_of({});
  subject.max_rise = 0.4;
  const std::size_t full = quiet_search(subject).targets.back().calibration.pattern.full_count();
  subject = subject_of({full + 1});
  subject.max_rise = 0.4;
  TableInstruments instruments([&](const Pattern& pattern, double loss) {
    return loss + (pattern.full_count() <= full ? 1 : 0);
  });
  const SearchOutcome outcome = quiet_search(subject, instruments);
  REQUIRE(outcome.targets.size() == 1);
  CHECK(outcome.targets[0].calibration.pattern.full_count() == full + 1);
  CHECK(outcome.targets[0].request == std::to_string(full + 1) + ", max-rise 0.4");
}

TEST_CASE("a budget may end anywhere, and what was found until then is the result") {
  SearchSubject subject = subject_of({});
  subject.max_rise = 0.4;
  subject.space.races.reset();
  subject.stability = true;
  const auto unconfirmed = [](const Pattern& pattern, double loss) {
    return loss + (pattern.full_count() < 6 ? 1 : 0);
  };
  TableInstruments whole(unconfirmed);
  const SearchOutcome complete = quiet_search(subject, whole);
  CHECK(complete.complete);
  bool found_while_seeking = false;
  for (std::size_t limit = 0; limit < whole.requests(); ++limit) {
    TableInstruments limited(unconfirmed);
    limited.limit_requests(limit);
    const SearchOutcome outcome = quiet_search(subject, limited);
    INFO(limit << " requests");
    CHECK_FALSE(outcome.complete);
    REQUIRE(outcome.targets.size() == 1);
    CHECK(outcome.targets[0].holdout);
    CHECK_THAT(outcome.warnings.at(0), Contains("--budget ended"));
    if (outcome.searches.size() != 1 || outcome.searches[0].steps.empty()) continue;
    found_while_seeking = true;
    CHECK(outcome.targets[0].calibration.pattern.full_count() < PatternTable::kLayers);
  }
  CHECK(found_while_seeking);
}

TEST_CASE("a size that is asked for twice is one target") {
  SearchSubject subject = subject_of({});
  subject.max_rise = 0.4;
  const std::size_t full = quiet_search(subject).targets.back().calibration.pattern.full_count();
  subject = subject_of({full});
  subject.max_rise = 0.4;
  const SearchOutcome outcome = quiet_search(subject);
  REQUIRE(outcome.targets.size() == 1);
  CHECK(outcome.targets[0].request == std::to_string(full) + ", max-rise 0.4");
}

TEST_CASE("halves choose by their own sequences and pay on those of the other") {
  SearchSubject subject = subject_of({8, 4});
  subject.space.races.reset();
  subject.stability = true;
  const SearchOutcome outcome = quiet_search(subject);
  for (const Target& target : outcome.targets) {
    REQUIRE(target.halves.size() == 2);
    for (const std::size_t half : {0, 1}) {
      // The even sequences are the first half.
      double own = 0, others = 0;
      for (std::size_t s = 1 - half; s < all_losses().sequences(); s += 2) {
        own += all_losses().loss(target.halves[half].pattern, s);
        others += all_losses().loss(target.halves[1 - half].pattern, s);
      }
      const auto count = static_cast<double>(all_losses().sequences() / 2);
      CHECK(target.halves[half].regret == Approx((own - others) / count).margin(1e-9));
    }
  }
  // With 4 F layers both halves choose what all sequences choose.
  CHECK(outcome.targets[1].halves[0].pattern == outcome.targets[1].calibration.pattern);
  CHECK(outcome.targets[1].halves[0].regret == 0);
}

TEST_CASE("a budget that ends after the segments still leaves their result") {
  SearchSubject segments = subject_of({4});
  segments.strategies.resize(1);
  segments.refinement = nullptr;
  TableInstruments first;
  const SearchOutcome only_segments = quiet_search(segments, first);
  TableInstruments limited;
  limited.limit_requests(first.requests());
  const SearchOutcome outcome = quiet_search(subject_of({4}), limited);
  CHECK_FALSE(outcome.complete);
  REQUIRE(outcome.targets.size() == 1);
  CHECK(outcome.targets[0].request == "4");
  CHECK(outcome.targets[0].method == "segments");
  CHECK(outcome.targets[0].calibration.pattern == only_segments.targets[0].calibration.pattern);
  CHECK(outcome.targets[0].holdout);
  CHECK_THAT(outcome.warnings.at(0), Contains("--budget ended the search (greedy) after 0"));
  // One that ends before anything was found leaves the pattern with every indexer.
  TableInstruments none;
  none.limit_requests(0);
  CHECK(quiet_search(subject_of({4}), none).targets.at(0).request == "budget");
}
