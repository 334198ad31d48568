// SPDX-License-Identifier: Apache-2.0
// How requests are cut for several workers.
#include "search/sweep_cut.h"

#include "support/catch.h"
#include "support/spread_session.h"

#include <algorithm>
#include <set>

using namespace indexcache;
using namespace indexcache::test;

namespace {

TokenSet equal_sequences(std::size_t count, std::size_t length = 1000) {
  return {"tokens",
          std::vector<std::vector<std::int32_t>>(count, std::vector<std::int32_t>(length))};
}

// One S layer each: what a greedy step compares.
std::vector<Pattern> one_shared() {
  std::vector<Pattern> patterns;
  for (std::size_t layer = 1; layer < 16; ++layer) {
    std::string text(16, 'F');
    text[layer] = 'S';
    patterns.push_back(Pattern::parse(text));
  }
  return patterns;
}

struct Case {
  TokenSet tokens;
  double pass_seconds = 0;
  SpreadSession session{1};

  std::vector<CutTask> cut(const std::vector<Pattern>& patterns, std::size_t workers) {
    CpuBackend backend(1);
    const SweepPlanner planner(session.config(), backend, tokens, kRoomy);
    SweepRates rates = session.rates();
    rates.pass_seconds = pass_seconds;
    SweepCost cost(planner, rates);
    std::vector<std::size_t> all(tokens.sequences.size());
    for (std::size_t s = 0; s < all.size(); ++s) all[s] = s;
    return cut_sweep(patterns, all, cost, workers);
  }
};

void check_complete(const std::vector<CutTask>& tasks, std::size_t patterns,
                    std::size_t sequences) {
  std::set<std::pair<std::size_t, std::size_t>> pairs;
  for (const CutTask& task : tasks) {
    CHECK(std::ranges::is_sorted(task.sequences));
    for (const std::size_t p : task.patterns) {
      for (const std::size_t s : task.sequences) CHECK(pairs.emplace(p, s).second);
    }
  }
  CHECK(pairs.size() == patterns * sequences);
}

std::size_t patterns_of_largest(const std::vector<CutTask>& tasks) {
  std::size_t most = 0;
  for (const CutTask& task : tasks) most = std::max(most, task.patterns.size());
  return most;
}

}  // namespace

TEST_CASE("one worker gets everything in one task") {
  Case one{equal_sequences(3)};
  const auto tasks = one.cut(one_shared(), 1);
  REQUIRE(tasks.size() == 1);
  CHECK(tasks[0].patterns.size() == 15);
  CHECK(tasks[0].sequences == std::vector<std::size_t>{0, 1, 2});
}

TEST_CASE("many sequences are dealt whole, few are cut by subtrees of patterns") {
  const auto patterns = one_shared();
  Case many{equal_sequences(16)};
  const auto dealt = many.cut(patterns, 4);
  check_complete(dealt, 15, 16);
  CHECK(patterns_of_largest(dealt) == 15);  // no prefix is computed twice
  Case few{equal_sequences(3)};
  const auto cut = few.cut(patterns, 8);
  check_complete(cut, 15, 3);
  CHECK(cut.size() >= 8);  // so that all have work
  CHECK(patterns_of_largest(cut) < 15);
  CHECK(spread_seconds(cut, 8) < spread_seconds(few.cut(patterns, 3), 3) * 0.75);
}

TEST_CASE("the longest task comes first, and unequal sequences are balanced") {
  TokenSet tokens = equal_sequences(6, 300);
  tokens.sequences[4].resize(1500);
  Case uneven{tokens};
  const auto tasks = uneven.cut(one_shared(), 2);
  check_complete(tasks, 15, 6);
  CHECK(std::ranges::is_sorted(tasks, std::greater(),
                               [](const CutTask& task) { return task.estimate.seconds; }));
  double all = 0;
  for (const CutTask& task : tasks) all += task.estimate.seconds;
  CHECK(spread_seconds(tasks, 2) < all / 2 * 1.2);
}

TEST_CASE("where passes over streamed weights take as long as computing, tasks are few") {
  const auto patterns = one_shared();
  Case resident{equal_sequences(16)};
  double all = 0;
  const auto dealt = resident.cut(patterns, 4);
  for (const CutTask& task : dealt) all += task.estimate.seconds;
  CHECK(dealt.size() > 4);
  Case streamed{equal_sequences(16), all / 4};
  const auto tasks = streamed.cut(patterns, 4);
  check_complete(tasks, 15, 16);
  CHECK(tasks.size() == 4);
  // A pass that takes longer than everything else cannot be split.
  Case slow{equal_sequences(16), 10 * all};
  CHECK(slow.cut(patterns, 4).size() == 1);
}

TEST_CASE("a single pattern on a single sequence is one task for any number of workers") {
  Case single{equal_sequences(1)};
  const auto tasks = single.cut({Pattern::all_full(16)}, 512);
  REQUIRE(tasks.size() == 1);
  check_complete(tasks, 1, 1);
}

TEST_CASE("subtrees keep patterns with common prefixes together") {
  std::vector<Pattern> patterns;
  for (const char* text : {"FFFS", "FSSS", "FFSF", "FSSF", "FFFF", "FSFS"}) {
    patterns.push_back(Pattern::parse(text));
  }
  CHECK(subtrees(patterns, 2) == std::vector<std::vector<std::size_t>>{{4, 0, 2}, {5, 3, 1}});
  CHECK(subtrees(patterns, 1).size() == 1);
  CHECK(subtrees(patterns, 6).size() <= 6);
}
