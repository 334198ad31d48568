// SPDX-License-Identifier: Apache-2.0
// Several backends in one process give the bits of one.
#include "core/error.h"
#include "search/reference_case.h"
#include "support/catch.h"
#include "support/spread_session.h"

#include <set>

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::vector<Pattern> varied_patterns() {
  std::vector<Pattern> patterns;
  for (const char* text :
       {"FFFFFFFFFFFFFFFF", "FFFFFFFFFFFFFFFS", "FSSSSSSSSSSSSSSS", "FFFSFFFFFFFFFFFF",
        "FFFSFFFSFFFFFFFF", "FSFSFSFSFSFSFSFS", "FFFSFFFFFFFFFFFF", "FFSSFFSSFFSSFFSS"}) {
    patterns.push_back(Pattern::parse(text));
  }
  return patterns;
}

// Of different lengths; two of them select nothing or little.
TokenSet five_sequences() {
  TokenSet tokens = uneven_sequences(300);
  tokens.sequences.push_back(tokens.sequences[0]);
  tokens.sequences.back().resize(150);
  tokens.sequences.push_back(tokens.sequences[1]);
  return tokens;
}

}  // namespace

TEST_CASE("losses have the same bits on 1, 2, 3 and 8 devices") {
  const TokenSet tokens = five_sequences();
  const auto patterns = varied_patterns();
  SpreadSession one(1);
  const auto expected = one.evaluator(tokens).losses(patterns);
  CHECK(expected[0][0] != expected[2][0]);
  for (const std::size_t workers : {2, 3, 8}) {
    SpreadSession several(workers);
    CHECK(several.evaluator(tokens).losses(patterns) == expected);
    CHECK(several.evaluator(tokens, {}, {.memory_bytes = 1}).losses(patterns) == expected);
    std::size_t tasks = 0;
    for (const WorkerUse& worker : several.use.workers) tasks += worker.tasks;
    CHECK(tasks >= workers);
  }
}

TEST_CASE("devices that stream their weights give the same bits") {
  const TokenSet tokens = five_sequences();
  const auto patterns = varied_patterns();
  const auto expected = SpreadSession(1).evaluator(tokens).losses(patterns);
  for (const Placement placement : {Placement::stream, Placement::disk}) {
    SpreadSession moving(2, placement);
    CHECK(moving.evaluator(tokens).losses(patterns) == expected);
  }
}

TEST_CASE("overlaps and fidelity have the same bits on any number of devices") {
  const TokenSet tokens = five_sequences();
  const auto patterns = varied_patterns();
  const SweepGoal goal{Objective::loss, patterns[0]};
  SpreadSession one(1), three(3);
  QueryOverlap along = prepare_query_overlap(one.config(), tokens, patterns[0]);
  QueryOverlap along_three = along;
  const Hisa hisa{8, 17};
  IndexerOverlap indexers = prepare_indexer_overlap(one.config(), tokens, patterns[0], hisa);
  IndexerOverlap indexers_three = indexers;
  const OverlapPass pass = one.evaluator(tokens).measure_overlap(patterns[0], {&along, &indexers});
  const OverlapPass same =
      three.evaluator(tokens).measure_overlap(patterns[0], {&along_three, &indexers_three});
  CHECK(same.losses == pass.losses);
  CHECK(same.overlap.counts == pass.overlap.counts);
  CHECK(same.overlap.queries == pass.overlap.queries);
  CHECK(same.overlap.bucket_ends == pass.overlap.bucket_ends);
  CHECK(along_three.counts == along.counts);
  CHECK(along_three.totals == along.totals);
  CHECK(indexers_three.counts == indexers.counts);
  CHECK(indexers_three.least == indexers.least);
  CHECK(indexers_three.queries == indexers.queries);
  CHECK(indexers.mean({}).value() < 1);

  std::vector<SequenceLosses> losses, losses_of_three;
  SpreadEvaluator alone = one.evaluator(tokens, goal), spread = three.evaluator(tokens, goal);
  const auto fidelity = alone.measure_fidelity({patterns, alone.all_sequences()}, losses);
  CHECK(spread.measure_fidelity({patterns, spread.all_sequences()}, losses_of_three) == fidelity);
  CHECK(losses_of_three == losses);
  CHECK(fidelity[2]->kl_mean > 0);
}

TEST_CASE("every pair of a pattern and a sequence is reported once, on the caller's thread") {
  const TokenSet tokens = five_sequences();
  const auto patterns = varied_patterns();
  SpreadSession session(3);
  SpreadEvaluator evaluator = session.evaluator(tokens);
  const std::vector<std::size_t> chosen = {0, 2, 3};
  std::set<std::pair<std::size_t, std::size_t>> reported;
  std::map<std::pair<std::size_t, std::size_t>, double> values;
  const std::thread::id here = std::this_thread::get_id();
  const auto losses =
      evaluator.losses({patterns, chosen, [&](const LossPart& part) {
                          CHECK(std::this_thread::get_id() == here);
                          for (std::size_t p = 0; p < part.patterns.size(); ++p) {
                            for (std::size_t i = 0; i < part.sequences.size(); ++i) {
                              const std::pair pair(part.patterns[p], part.sequences[i]);
                              CHECK(reported.insert(pair).second);
                              values[pair] = part.losses[p][i];
                            }
                          }
                        }});
  CHECK(reported.size() == patterns.size() * chosen.size());
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      CHECK(values[{p, chosen[i]}] == losses[p][i]);
    }
  }
}

TEST_CASE("progress of several devices never goes back and reaches its total") {
  const TokenSet tokens = five_sequences();
  const auto patterns = varied_patterns();
  SpreadSession session(2);
  SpreadEvaluator evaluator = session.evaluator(tokens);
  std::size_t last = 0, all = 0;
  evaluator.set_progress([&](std::size_t done, std::size_t total) {
    CHECK(done >= last);
    CHECK((all == 0 || total == all));
    last = done;
    all = total;
  });
  evaluator.losses(patterns);
  CHECK(last == all);
  CHECK(all > 0);
}

TEST_CASE("a report that throws ends all devices, and they can be used again") {
  const TokenSet tokens = five_sequences();
  const auto patterns = varied_patterns();
  SpreadSession session(3);
  SpreadEvaluator evaluator = session.evaluator(tokens);
  const LossRequest request{patterns, evaluator.all_sequences(), [](const LossPart&) {
                              throw ResourceError({"the disk is full", "", "", ""});
                            }};
  CHECK_THROWS_AS(evaluator.losses(request), ResourceError);
  CHECK(evaluator.losses(patterns) == SpreadSession(1).evaluator(tokens).losses(patterns));
}
