// SPDX-License-Identifier: Apache-2.0
#include "search/baselines.h"

#include "support/catch.h"
#include "support/example_result.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("uniform patterns are periodic where they can be, and even otherwise") {
  const Pattern all = Pattern::all_full(16);
  CHECK(uniform_of_size(all, 4).text() == "FSSSFSSSFSSSFSSS");
  CHECK(uniform_of_size(all, 2).text() == "FSSSSSSSFSSSSSSS");
  CHECK(uniform_of_size(all, 16) == Pattern::all_full(16));
  CHECK(uniform_of_size(Pattern::all_full(47), 12) == Pattern::uniform(47, 4));
  for (std::size_t full = 1; full <= 16; ++full) {
    CHECK(uniform_of_size(all, full).full_count() == full);
  }
}

TEST_CASE("layers without an indexer are never F") {
  const Pattern owners = Pattern::parse("FFFSSSFS");
  CHECK(uniform_of_size(owners, 2).text() == "FSFSSSSS");
  CHECK(uniform_of_size(owners, 4).text() == "FFFSSSFS");
}

TEST_CASE("the pattern that overlap recommends is the best of all, and keeps the constraints") {
  Overlap overlap = example_overlap();
  overlap.queries = {7};
  overlap.bucket_ends = {64};
  overlap.counts.assign(36, 0);
  for (std::int64_t i = 0; i < 36; ++i) overlap.counts[static_cast<std::size_t>(i)] = i * i % 101;
  const auto missed = [&](const Pattern& pattern) {
    double sum = 0;
    for (std::size_t layer = 0; layer < 6; ++layer) {
      if (!pattern.is_full(layer)) sum += 1 - overlap.mean(pattern.donor(layer), layer);
    }
    return sum;
  };
  Constraints pinned = Constraints::none(6);
  pinned.pinned_full[4] = true;
  pinned.max_run = 2;
  for (const Constraints& constraints : {Constraints::none(6), pinned}) {
    for (std::size_t full = 1; full <= 6; ++full) {
      double least = std::numeric_limits<double>::infinity();
      for (std::size_t bits = 0; bits < 32; ++bits) {
        std::string text = "F";
        for (int layer = 0; layer < 5; ++layer) text += (bits >> layer & 1) != 0 ? 'S' : 'F';
        const Pattern pattern = Pattern::parse(text);
        if (pattern.full_count() != full || !keeps(pattern, constraints)) continue;
        least = std::min(least, missed(pattern));
      }
      const auto found = overlap_pattern(overlap, Pattern::all_full(6), constraints, full);
      INFO(full << " F layers");
      REQUIRE(found.has_value() == std::isfinite(least));
      if (!found) continue;
      CHECK(keeps(*found, constraints));
      CHECK(missed(*found) == Approx(least));
    }
  }
}

TEST_CASE("random patterns differ, keep the constraints, and are the same each time") {
  SearchSpace space{Pattern::parse("FFFSFFFF"), Constraints::none(8), {}};
  space.constraints.pinned_full[2] = true;
  const std::vector<Pattern> patterns = random_patterns(space, 4, 5);
  REQUIRE(patterns.size() == 5);
  for (const Pattern& pattern : patterns) {
    CHECK(pattern.full_count() == 4);
    CHECK(space.holds(pattern));
    CHECK(std::ranges::count(patterns, pattern) == 1);
  }
  CHECK(random_patterns(space, 4, 5) == patterns);
  CHECK(random_patterns(space, 2, 8).size() == 1);  // layers 0 and 2: there is no other
  CHECK(random_patterns(space, 7, 8).size() == 1);
  // Many pinned layers leave others to be drawn.
  SearchSpace stages{Pattern::all_full(61), Constraints::none(61), {}};
  for (const std::size_t layer : {8, 16, 24, 31, 38, 46, 53}) {
    stages.constraints.pinned_full[layer] = true;
  }
  stages.constraints.pinned_shared[1] = true;
  CHECK(random_patterns(stages, 16, 8).size() == 8);
}
