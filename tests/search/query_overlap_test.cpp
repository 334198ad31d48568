// SPDX-License-Identifier: Apache-2.0
#include "search/query_overlap.h"

#include "core/error.h"
#include "search/overlap_pass.h"
#include "search/reference_case.h"
#include "support/catch.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Two buckets of two columns: pairs at distance 1, and groups of 2; two layers.
QueryOverlap two_layers() {
  return {.index_topk = 10,
          .layers = {0, 3},
          .distances = {1},
          .groups = {2},
          .bucket_ends = {20, 40},
          .totals = {4, 0, 12, 6},
          .counts = {40, 0, 60, 90, 20, 0, 0, 120}};
}

}  // namespace

TEST_CASE("means along queries are over the pairs and groups of layers and buckets") {
  const QueryOverlap overlap = two_layers();
  CHECK(overlap.of_layer(0, 0) == Approx(100.0 / 160));
  CHECK(overlap.of_layer(1, 1) == Approx(2.0));
  CHECK(overlap.of_bucket(0, 0) == Approx(60.0 / 80));
  CHECK(overlap.of_bucket(1, 1) == Approx(210.0 / 120));
  CHECK_FALSE(overlap.of_bucket(0, 1));
  CHECK(overlap.mean(0) == Approx(120.0 / 320));
}

TEST_CASE("pairs and groups are counted within sequences, in layers that run their indexer") {
  Session<> session(data("dsa-mini"));
  const TokenSet tokens = uneven_sequences(400);  // 400, 211 and 100 tokens; index_topk is 128
  const ModelConfig& config = session.model.config;
  const QueryOverlap overlap =
      prepare_query_overlap(config, tokens, Pattern::parse("FSSSFSSSFSSSFSSS"));
  CHECK(overlap.layers == std::vector<std::size_t>{0, 4, 8, 12});
  CHECK(overlap.bucket_ends == std::vector<std::int64_t>{256, 512});
  CHECK(overlap.totals == std::vector<std::int64_t>{127 + 82, 112 + 67, 0, 64 + 41, 32 + 20,
                                                    16 + 10, 144, 144, 144, 72, 36, 18});
  const TokenSet short_one{"tokens.h5", {std::vector<std::int32_t>(129, 7)}};
  CHECK_THROWS_AS(prepare_query_overlap(config, short_one, Pattern::all_full(16)), InputError);
}

TEST_CASE("what is shared along queries needs the sets of one layer, and changes nothing else") {
  Session<> session(data("dsa-mini"));
  const TokenSet tokens = uneven_sequences(400);
  const Pattern pattern = Pattern::parse("FFFFFFFFFFFFSSSS");
  const auto measure = [&](std::int64_t memory, QueryOverlap* along) {
    SweepEvaluator evaluator = session.evaluator(tokens, {.memory_bytes = memory});
    return measure_overlap(evaluator, session.backend, pattern, {along});
  };
  QueryOverlap roomy = prepare_query_overlap(session.model.config, tokens, pattern);
  QueryOverlap tight = roomy;
  const std::int64_t room = std::int64_t{1} << 30;
  const OverlapPass pass = measure(room, &roomy);
  const OverlapPass without = measure(room, nullptr);
  CHECK(pass.overlap.counts == without.overlap.counts);
  CHECK(pass.losses == without.losses);
  CHECK(measure(1, &tight).overlap.query_step > 1);  // and a wave per sequence
  CHECK(tight.counts == roomy.counts);
  for (std::size_t n = 0; n < 12; ++n) {
    INFO("layer " << n);
    // |A ∪ B| + |A ∩ B| = 2 k, and the pairs of a union of 2 are every other neighbor.
    CHECK(roomy.of_layer(n, 0).value() + roomy.of_layer(n, 3).value() == Approx(2).margin(0.02));
    CHECK(roomy.of_layer(n, 0) > roomy.of_layer(n, 2));
    CHECK(roomy.of_layer(n, 3) < roomy.of_layer(n, 4));
    CHECK(roomy.of_layer(n, 4) < roomy.of_layer(n, 5));
  }
}
