// SPDX-License-Identifier: Apache-2.0
// Constraints against plain enumeration of every pattern.
#include "search/constraints.h"

#include "support/catch.h"

#include <algorithm>
#include <cstdint>
#include <random>

using namespace indexcache;
using namespace indexcache::test;

namespace {

bool allowed(const Pattern& pattern, const Constraints& constraints) {
  std::size_t run = 0;
  for (std::size_t layer = 0; layer < pattern.layers(); ++layer) {
    run = pattern.is_full(layer) ? 0 : run + 1;
    if (constraints.max_run > 0 && run > constraints.max_run) return false;
    if (constraints.pinned_full[layer] && !pattern.is_full(layer)) return false;
    if (constraints.pinned_shared[layer] && pattern.is_full(layer)) return false;
  }
  return true;
}

// The same as fewest_full, by trying all subsets.
std::optional<std::size_t> enumerated(const Pattern& pattern, const Constraints& constraints) {
  std::optional<std::size_t> fewest;
  for (std::uint32_t mask = 0; mask < (1u << pattern.layers()); ++mask) {
    std::string text = pattern.text();
    bool only_shares = (mask & 1u) == 0;
    for (std::size_t layer = 1; layer < text.size(); ++layer) {
      if ((mask >> layer & 1u) == 0) continue;
      only_shares = only_shares && text[layer] == 'F';
      text[layer] = 'S';
    }
    if (!only_shares) continue;
    const Pattern tried = Pattern::parse(text);
    if (!allowed(tried, constraints)) continue;
    if (!fewest || tried.full_count() < *fewest) fewest = tried.full_count();
  }
  return fewest;
}

Constraints random_constraints(std::mt19937& engine, std::size_t layers) {
  Constraints constraints = Constraints::none(layers);
  for (std::size_t layer = 1; layer < layers; ++layer) {
    const auto draw = engine() % 8;
    constraints.pinned_full[layer] = draw == 0;
    constraints.pinned_shared[layer] = draw == 1;
  }
  constraints.max_run = engine() % 4;
  return constraints;
}

}  // namespace

TEST_CASE("layer 0, pinned and shared layers are no candidates") {
  Constraints constraints = Constraints::none(5);
  constraints.pinned_full[3] = true;
  CHECK(next_candidates(Pattern::parse("FFSFF"), constraints, 1) == std::vector<std::size_t>{1, 4});
}

TEST_CASE("a bounded run keeps the way to the target open") {
  Constraints constraints = Constraints::none(5);
  constraints.max_run = 2;
  CHECK(fewest_full(Pattern::all_full(5), constraints) == 2u);
  // F F F S F: without layer 2 nothing but three F layers could be reached any more.
  CHECK(next_candidates(Pattern::parse("FFFSF"), constraints, 2) == std::vector<std::size_t>{1, 4});
  CHECK(next_candidates(Pattern::parse("FFFSF"), constraints, 3) ==
        std::vector<std::size_t>{1, 2, 4});
  CHECK_FALSE(fewest_full(Pattern::parse("FSSSF"), constraints).has_value());
}

TEST_CASE("the fewest F layers are those of enumeration, and every way leads to the target") {
  std::mt19937 engine(7);
  for (int round = 0; round < 400; ++round) {
    const std::size_t layers = 2 + engine() % 9;
    const Constraints constraints = random_constraints(engine, layers);
    std::string text(layers, 'F');
    for (std::size_t layer = 1; layer < layers; ++layer) {
      if (engine() % 5 == 0 && !constraints.pinned_full[layer]) text[layer] = 'S';
    }
    Pattern pattern = Pattern::parse(text);
    INFO(text << " run " << constraints.max_run);
    const auto fewest = fewest_full(pattern, constraints);
    REQUIRE(fewest == enumerated(pattern, constraints));
    if (!fewest) continue;
    while (pattern.full_count() > *fewest) {
      const auto candidates = next_candidates(pattern, constraints, *fewest);
      REQUIRE_FALSE(candidates.empty());
      pattern = pattern.with_shared(candidates[engine() % candidates.size()]);
    }
    CHECK(allowed(pattern, constraints));
  }
}
