// SPDX-License-Identifier: Apache-2.0
// Losses and overlaps when HISA selects: the same bits in any batch, and exact where it is.
#include "search/indexer_overlap.h"
#include "search/overlap_pass.h"
#include "search/reference_case.h"
#include "search/sweep_evaluator.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

// index_topk of dsa-mini is 128: beyond 144 tokens, HISA selects among some blocks of 9.
constexpr Hisa kNarrow = {9, 16};

std::vector<Pattern> patterns_for_hisa() {
  return {Pattern::all_full(16), Pattern::parse("FSSSFSSSFSSSFSSS"),
          Pattern::parse("FFFSFFFSFFFFFFFF")};
}

}  // namespace

TEST_CASE("under HISA a batch equals each pattern by itself, in waves and on any threads") {
  const TokenSet tokens = uneven_sequences(400);
  const auto patterns = patterns_for_hisa();
  Session<> session(data("dsa-mini"));
  const auto exact = session.evaluator(tokens).losses(patterns);
  session.model.config.indexer = kNarrow;
  SweepEvaluator evaluator = session.evaluator(tokens);
  const auto batch = evaluator.losses(patterns);
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    CHECK(evaluator.losses(std::span(&patterns[p], 1)).front() == batch[p]);
    CHECK(batch[p][0] != exact[p][0]);
    CHECK(batch[p][2] == exact[p][2]);  // 100 tokens: nothing is dropped
  }
  CHECK(session.evaluator(tokens, {.memory_bytes = 1}).losses(patterns) == batch);
  Session<> threads(data("dsa-mini"), std::nullopt, Placement::stream, 3);
  threads.model.config.indexer = kNarrow;
  CHECK(threads.evaluator(tokens).losses(patterns) == batch);
}

TEST_CASE("HISA that chooses every block has the losses of the exact indexer, to the last bit") {
  const TokenSet tokens = uneven_sequences(400);
  const auto patterns = patterns_for_hisa();
  Session<> session(data("dsa-mini"));
  const auto exact = session.evaluator(tokens).losses(patterns);
  session.model.config.indexer = Hisa{9, 45};
  CHECK(session.evaluator(tokens).losses(patterns) == exact);
}

TEST_CASE("what HISA selects is compared with the exact sets, which stay in force") {
  const TokenSet tokens = uneven_sequences(400);
  const Pattern pattern = Pattern::parse("FFFFFFFFFFFFSSSS");
  Session<> session(data("dsa-mini"));
  const ModelConfig& config = session.model.config;
  const auto measure = [&](const Hisa& hisa, std::int64_t memory) {
    IndexerOverlap overlap = prepare_indexer_overlap(config, tokens, pattern, hisa);
    SweepEvaluator evaluator = session.evaluator(tokens, {.memory_bytes = memory});
    const OverlapPass pass =
        measure_overlap(evaluator, session.backend, pattern, {nullptr, &overlap});
    CHECK(pass.losses == session.evaluator(tokens).losses(std::span(&pattern, 1)).front());
    return overlap;
  };
  const std::int64_t room = std::int64_t{1} << 30;
  const IndexerOverlap narrow = measure(kNarrow, room);
  CHECK(narrow.layers == pattern.full_layers());
  CHECK(narrow.queries == std::vector<std::int64_t>{128 + 83, 144});
  const IndexerOverlap waves = measure(kNarrow, 1);
  CHECK(waves.counts == narrow.counts);
  CHECK(waves.least == narrow.least);
  // Half of the first bucket is within reach, and no query shares more than it does with itself.
  const double mean = narrow.mean({}).value(), worst = narrow.worst({}).value();
  CHECK(mean < 1);
  CHECK(worst < mean);
  CHECK(narrow.mean({std::nullopt, 0}).value() > narrow.mean({std::nullopt, 1}).value());
  double least_mean = 1;
  for (std::size_t n = 0; n < narrow.layers.size(); ++n) {
    least_mean = std::min(least_mean, narrow.mean({n, std::nullopt}).value());
    CHECK(narrow.worst({n, std::nullopt}).value() >= worst);
  }
  CHECK(least_mean < mean);
  const IndexerOverlap wide = measure(Hisa{9, 30}, room);
  CHECK(wide.mean({}).value() > mean);
  const IndexerOverlap all = measure(Hisa{9, 45}, room);
  CHECK(all.mean({}) == 1.0);
  CHECK(all.worst({}) == 1.0);
  const TokenSet short_one{"tokens.h5", {std::vector<std::int32_t>(128, 7)}};
  CHECK_THROWS_AS(prepare_indexer_overlap(config, short_one, pattern, kNarrow), InputError);
}
