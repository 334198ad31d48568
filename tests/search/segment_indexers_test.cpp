// SPDX-License-Identifier: Apache-2.0
// Patterns whose segments have indexers of their own, in a sweep.
#include "search/segment_indexers.h"

#include "search/reference_case.h"
#include "search/sweep_evaluator.h"
#include "support/layers.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

// A model in which one layer has another indexer.
class Replaced : public WeightSource {
 public:
  Replaced(WeightSource& base, std::size_t layer, IndexerWeights indexer)
      : base_(base), layer_(static_cast<std::int64_t>(layer)), indexer_(std::move(indexer)) {
    outer_ = base.outer();
  }

  const LayerWeights& layer(std::int64_t layer) override {
    current_ = base_.layer(layer);
    if (layer == layer_) current_.indexer = indexer_;
    return current_;
  }

 private:
  WeightSource& base_;
  std::int64_t layer_;
  IndexerWeights indexer_;
  LayerWeights current_;
};

std::vector<Pattern> segment_patterns() {
  std::vector<Pattern> patterns;
  for (const char* text : {"FFFFFFFFFFFFFFFF", "FFFFSSSSFFFFFFFF", "FFFFSSSFFFFFFFFF",
                           "FFFFSFFFFFFFFFFF", "FFFFSSSSFFSFFFFF"}) {
    patterns.push_back(Pattern::parse(text));
  }
  return patterns;
}

}  // namespace

TEST_CASE("a segment runs the indexer that was trained for it, and only that segment") {
  Session<> session(data("dsa-mini"));
  const TokenSet tokens = uneven_sequences(400);
  const auto patterns = segment_patterns();
  // Other layers' indexers stand for trained ones.
  const IndexerWeights first = *session.weights.layer(2).indexer;
  const IndexerWeights second = *session.weights.layer(6).indexer;
  const SegmentIndexers indexers({{{3, 8}, first}, {{3, 7}, second}});
  SweepEvaluator evaluator =
      session.evaluator(tokens, {.memory_bytes = std::int64_t{4} << 30}, {.indexers = &indexers});
  const auto losses = evaluator.losses(patterns);
  const auto released = session.evaluator(tokens).losses(patterns);
  CHECK(losses[0] == released[0]);
  CHECK(losses[3] == released[3]);

  for (const auto& [index, indexer] :
       {std::pair(1u, first), std::pair(2u, second), std::pair(4u, first)}) {
    CAPTURE(index);
    Replaced weights(session.weights, 3, indexer);
    SweepEvaluator alone(session.model.config, weights, session.backend, tokens);
    CHECK(losses[index] == alone.losses_of(patterns[index]));
    CHECK(losses[index] != released[index]);
  }
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    CHECK(evaluator.losses(std::span(&patterns[p], 1)).front() == losses[p]);
  }
}

TEST_CASE("patterns with other indexers part at the layer that runs them") {
  const auto patterns = segment_patterns();
  const SegmentIndexers indexers({{{3, 8}, {}}, {{3, 7}, {}}});
  const std::vector<std::size_t> stream = {0, 1, 2, 3, 4};
  const auto parts = parts_of(patterns, stream, 3, &indexers);
  REQUIRE(parts.size() == 3);
  CHECK(parts[0].patterns == std::vector<std::size_t>{0, 3});
  CHECK(parts[0].trained == nullptr);
  CHECK(parts[1].patterns == std::vector<std::size_t>{1, 4});
  CHECK(parts[2].patterns == std::vector<std::size_t>{2});
  CHECK(parts_of(patterns, stream, 3, nullptr).size() == 1);
  const ModelConfig config = of_layers(16, true);
  CHECK(count_visits(patterns, config, &indexers).stream_layers() >
        count_visits(patterns, config).stream_layers());
}
