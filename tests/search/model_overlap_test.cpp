// SPDX-License-Identifier: Apache-2.0
// Index sets of two models on the same tokens, against counts of their sets by themselves.
#include "search/model_overlap.h"

#include "search/overlap_pass.h"
#include "search/reference_case.h"
#include "support/model_copy.h"

#include <algorithm>
#include <iterator>
#include <map>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr std::int64_t kTopK = 16;  // of the model
constexpr std::size_t kChanged = 2;

TokenSet uneven_tokens() {
  TokenSet tokens{"tokens.h5", {}};
  for (const int length : {150, 9, 61, 90}) {
    tokens.sequences.emplace_back();
    for (int t = 0; t < length; ++t) tokens.sequences.back().push_back((t * t + 31 * t) % 160);
  }
  return tokens;
}

// The sets of every layer, query by query.
class AllSets : public SweepObserver {
 public:
  explicit AllSets(Backend& backend) : backend_(backend) {}
  void layer_done(std::size_t layer, std::span<const std::size_t>, const RowLayout&,
                  const Tensor& sets, const Tensor&) override {
    std::vector<std::int32_t>& all = of_layer[layer];
    const auto more = backend_.download_indices(sets);
    all.insert(all.end(), more.begin(), more.end());
  }
  std::map<std::size_t, std::vector<std::int32_t>> of_layer;

 private:
  Backend& backend_;
};

AllSets sets_of(Session<>& session, const TokenSet& tokens) {
  AllSets sets(session.backend);
  SweepEvaluator evaluator = session.evaluator(tokens);
  const Pattern pattern = session.model.baseline();
  evaluator.losses({std::span(&pattern, 1), evaluator.all_sequences()}, &sets);
  return sets;
}

struct Compared {
  ModelOverlap overlap;
  SequenceLosses first, second;
};

Compared compare(Session<>& a, Session<>& b, const TokenSet& tokens, std::int64_t step,
                 std::int64_t memory = std::int64_t{1} << 30) {
  Compared compared;
  const Pattern pattern = a.model.baseline();
  SweepEvaluator first = a.evaluator(tokens, {.memory_bytes = memory});
  const StoredSets stored = keep_sets(first, a.backend, pattern, step, compared.first);
  SweepEvaluator second = b.evaluator(tokens, {.memory_bytes = memory});
  compared.overlap = compare_sets(second, b.backend, pattern, stored, compared.second);
  return compared;
}

// Common members of query `row` of two lists of sets.
std::int64_t common_of(const std::vector<std::int32_t>& a, const std::vector<std::int32_t>& b,
                       std::int64_t row) {
  std::vector<std::int32_t> common;
  std::set_intersection(a.begin() + row * kTopK, a.begin() + (row + 1) * kTopK,
                        b.begin() + row * kTopK, b.begin() + (row + 1) * kTopK,
                        std::back_inserter(common));
  return static_cast<std::int64_t>(common.size());
}

}  // namespace

TEST_CASE("a model selects exactly what it selects") {
  const TokenSet tokens = uneven_tokens();
  Session<> a(golden("deepseek_v32_tiny")), b(golden("deepseek_v32_tiny"));
  for (const std::int64_t step : {1, 4}) {
    const Compared same = compare(a, b, tokens, step);
    CHECK(same.overlap.mean({}) == 1.0);
    CHECK(same.overlap.worst({}) == 1.0);
    CHECK(same.overlap.query_step == step);
    CHECK(same.first == same.second);
    CHECK(same.first == a.evaluator(tokens).losses_of(a.model.baseline()));
    std::int64_t queries = 0;
    for (const std::int64_t count : same.overlap.queries) queries += count;
    CHECK(queries == (step == 1 ? 134 + 45 + 74 : 34 + 12 + 19));
  }
}

TEST_CASE("another indexer in one layer shows there and after it, query by query") {
  const TokenSet tokens = uneven_tokens();
  const ModelCopy copy;
  change_indexer(copy, kChanged);
  Session<> a(golden("deepseek_v32_tiny")), b(copy.path());
  const auto of_a = sets_of(a, tokens).of_layer, of_b = sets_of(b, tokens).of_layer;
  for (const std::int64_t step : {1, 3}) {
    const ModelOverlap overlap = compare(a, b, tokens, step).overlap;
    REQUIRE(overlap.layers.size() == 6);
    for (std::size_t layer = 0; layer < 6; ++layer) {
      INFO("layer " << layer << ", step " << step);
      std::int64_t sum = 0, queries = 0, row = 0;
      std::vector<QueryInCommon> worst;
      for (const std::size_t sequence : {0u, 2u, 3u}) {  // the others select everything
        const auto length = static_cast<std::int64_t>(tokens.sequences[sequence].size());
        for (std::int64_t position = kTopK; position < length; ++position, ++row) {
          if ((position - kTopK) % step != 0) continue;
          worst.push_back({common_of(of_a.at(layer), of_b.at(layer), row), sequence, position});
          sum += worst.back().common;
          ++queries;
        }
      }
      std::ranges::sort(worst);
      worst.resize(kWorstQueries);
      CHECK(overlap.worst_queries[layer] == worst);
      CHECK(overlap.mean({layer, std::nullopt}).value() ==
            Approx(static_cast<double>(sum) / static_cast<double>(queries * kTopK)));
      CHECK(overlap.worst({layer, std::nullopt}).value() ==
            static_cast<double>(worst.front().common) / kTopK);
      if (layer < kChanged) CHECK(overlap.worst({layer, std::nullopt}) == 1.0);
    }
    CHECK(overlap.mean({kChanged, std::nullopt}).value() < 0.9);
    CHECK(overlap.mean({kChanged + 1, std::nullopt}).value() < 1);
  }
  // The order of waves does not show.
  const ModelOverlap all = compare(a, b, tokens, 1).overlap;
  const ModelOverlap waves = compare(a, b, tokens, 1, 1).overlap;
  CHECK(waves.counts == all.counts);
  CHECK(waves.worst_queries == all.worst_queries);
}

TEST_CASE("sets of fewer positions are kept if those of all do not fit") {
  const TokenSet tokens = uneven_tokens();
  const Session<> session(golden("deepseek_v32_tiny"));
  const ModelConfig& config = session.model.config;
  const Pattern pattern = Pattern::parse("FSFSSS");
  const std::int64_t all = 2 * 4 * kTopK * (134 + 45 + 74);
  CHECK(stored_query_step(config, tokens, pattern, all) == 1);
  CHECK(stored_query_step(config, tokens, pattern, all - 1) == 2);
  CHECK(stored_query_step(config, tokens, pattern, all / 5) == 8);
  const TokenSet short_one{"tokens.h5", {std::vector<std::int32_t>(16, 7)}};
  Session<> a(golden("deepseek_v32_tiny")), b(golden("deepseek_v32_tiny"));
  CHECK_THROWS_AS(compare(a, b, short_one, 1), InputError);
}
