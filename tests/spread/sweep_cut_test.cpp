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
std::vector<Pattern> one_shared(std::size_t layers = 16) {
  std::vector<Pattern> patterns;
  for (std::size_t layer = 1; layer < layers; ++layer) {
    std::string text(layers, 'F');
    text[layer] = 'S';
    patterns.push_back(Pattern::parse(text));
  }
  return patterns;
}

// The first layers of dsa-mini.
ModelConfig with_layers(ModelConfig config, std::int64_t layers) {
  config.layers = layers;
  config.moe_layer.resize(static_cast<std::size_t>(layers));
  return config;
}

struct Case {
  TokenSet tokens;
  double pass_seconds = 0;
  SpreadSession session{1};

  std::vector<CutTask> cut(const std::vector<Pattern>& patterns, std::size_t workers) {
    CpuBackend backend(1);
    const ModelConfig config =
        with_layers(session.config(), static_cast<std::int64_t>(patterns.front().layers()));
    const SweepPlanner planner(config, backend, tokens, kRoomy);
    SweepRates rates = session.rates();
    rates.pass_seconds = pass_seconds;
    SweepCost cost(planner, rates);
    std::vector<std::size_t> all(tokens.sequences.size());
    for (std::size_t s = 0; s < all.size(); ++s) all[s] = s;
    return SweepCutter(patterns, all, cost).cut(workers);
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

TEST_CASE("sequences that are left over cost little: 3 on 2 workers take a few percent over half") {
  Case three{equal_sequences(3)};
  const auto patterns = one_shared(10);
  const auto tasks = three.cut(patterns, 2);
  check_complete(tasks, 9, 3);
  CHECK(spread_seconds(tasks, 2) < 0.53 * three.cut(patterns, 1).front().estimate.seconds);
  // Two sequences whole, and the third in two.
  CHECK(tasks.size() == 4);
  CHECK(tasks[0].patterns.size() == 9);
  CHECK(tasks[1].patterns.size() == 9);
}

TEST_CASE("no number of sequences takes longer than if all of them were cut in the same way") {
  // Workers times seconds, as multiples of one worker's, for 1 to 16 sequences and the candidates
  // of a greedy step: the best of all cuts into groups of patterns times parts of the sequences.
  const std::vector<std::pair<std::size_t, std::vector<double>>> grids = {
      {2,
       {1.2398, 1.0000, 1.1363, 1.0000, 1.1156, 1.0000, 1.1067, 1.0000, 1.1111, 1.0000, 1.0909,
        1.0000, 1.0769, 1.0000, 1.0667, 1.0000}},
      {3,
       {1.2847, 1.1707, 1.0000, 1.1707, 1.1598, 1.0000, 1.1288, 1.1250, 1.0000, 1.1155, 1.0909,
        1.0000, 1.1538, 1.0714, 1.0000, 1.1039}},
      {4,
       {1.4487, 1.2398, 1.3341, 1.0000, 1.2198, 1.1363, 1.1429, 1.0000, 1.1706, 1.1156, 1.0909,
        1.0000, 1.0967, 1.1067, 1.0667, 1.0000}},
      {8,
       {2.1571, 1.4487, 1.5489, 1.2398, 1.2488, 1.3341, 1.1429, 1.0000, 1.3376, 1.2198, 1.2396,
        1.1363, 1.1896, 1.1429, 1.0667, 1.0000}},
      {16,
       {4.3141, 2.1571, 1.9316, 1.4487, 1.3704, 1.5489, 1.4169, 1.2398, 1.3875, 1.2488, 1.4553,
        1.3341, 1.2308, 1.1429, 1.0667, 1.0000}},
  };
  const auto patterns = one_shared(10);
  for (const auto& [workers, products] : grids) {
    for (std::size_t count = 1; count <= products.size(); ++count) {
      Case some{equal_sequences(count)};
      const auto tasks = some.cut(patterns, workers);
      check_complete(tasks, 9, count);
      const double one = some.cut(patterns, 1).front().estimate.seconds;
      INFO(count << " sequences, " << workers << " workers");
      CHECK(spread_seconds(tasks, workers) * static_cast<double>(workers) <=
            one * (products[count - 1] + 1e-4));
    }
  }
}

TEST_CASE("a long sequence among short ones is divided, and most of the others are dealt whole") {
  TokenSet tokens = equal_sequences(9, 300);
  tokens.sequences[2].resize(3000);
  Case uneven{tokens};
  const auto tasks = uneven.cut(one_shared(), 4);
  check_complete(tasks, 15, 9);
  std::size_t whole = 0;
  double all = 0;
  for (const CutTask& task : tasks) {
    all += task.estimate.seconds;
    if (task.patterns.size() == 15) whole += task.sequences.size();
    if (std::ranges::count(task.sequences, std::size_t{2}) == 0) continue;
    CHECK(task.patterns.size() < 15);
    CHECK(task.sequences.size() == 1);
  }
  CHECK(whole >= 4);
  CHECK(spread_seconds(tasks, 4) < all / 4 * 1.05);
}

TEST_CASE("one cutter cuts for any numbers of workers, in any order") {
  Case some{equal_sequences(5)};
  const auto patterns = one_shared();
  const CpuBackend backend(1);
  const SweepPlanner planner(some.session.config(), backend, some.tokens, kRoomy);
  SweepCost cost(planner, some.session.rates());
  const std::vector<std::size_t> all = {0, 1, 2, 3, 4};
  SweepCutter cutter(patterns, all, cost);
  for (const std::size_t workers : {8, 2, 1, 3, 8}) {
    const auto again = cutter.cut(workers), fresh = some.cut(patterns, workers);
    REQUIRE(again.size() == fresh.size());
    for (std::size_t t = 0; t < again.size(); ++t) {
      CHECK(again[t].patterns == fresh[t].patterns);
      CHECK(again[t].sequences == fresh[t].sequences);
      CHECK(again[t].estimate.seconds == fresh[t].estimate.seconds);
    }
  }
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

TEST_CASE("equal sequences of streamed weights are dealt at once, and few are cut by patterns") {
  Case eight{equal_sequences(8)};
  const auto patterns = one_shared(10);
  const double all = eight.cut(patterns, 1).front().estimate.seconds;
  eight.pass_seconds = all / 12;
  CHECK(eight.cut(patterns, 2).size() == 2);
  Case three{equal_sequences(3)};
  three.pass_seconds = all / 12;
  const auto tasks = three.cut(patterns, 2);
  CHECK(tasks.size() == 2);
  CHECK(tasks[0].sequences.size() == 3);
  three.pass_seconds = 0;
  CHECK(three.cut(patterns, 2).size() == 4);
}

TEST_CASE("where passes over streamed weights take as long as computing, tasks are few") {
  const auto patterns = one_shared();
  Case resident{equal_sequences(16)};
  double all = 0;
  const auto dealt = resident.cut(patterns, 4);
  for (const CutTask& task : dealt) all += task.estimate.seconds;
  CHECK(dealt.size() >= 4);
  Case streamed{equal_sequences(16), all / 16};
  const auto tasks = streamed.cut(patterns, 4);
  check_complete(tasks, 15, 16);
  CHECK(tasks.size() == 4);
  // Four devices that stream at the same time would take longer than two.
  Case slower{equal_sequences(16), all / 4};
  CHECK(slower.cut(patterns, 4).size() == 2);
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
  // Every layer costs the same.
  const StreamCosts equal{std::vector(4, 1.0), std::vector(4, 1.0), 0, 6};
  CHECK(subtrees(patterns, 2, equal) ==
        std::vector<std::vector<std::size_t>>{{4, 0, 2}, {5, 3, 1}});
  CHECK(subtrees(patterns, 1, equal).size() == 1);
  CHECK(subtrees(patterns, 6, equal).size() <= 6);
  // Where a device sweeps two at a time, a third pattern shares nothing with the two before it.
  const StreamCosts pairs{equal.full, equal.shared, 0, 2};
  CHECK(subtrees(patterns, 3, pairs) ==
        std::vector<std::vector<std::size_t>>{{4, 0}, {2, 5}, {3, 1}});
}
