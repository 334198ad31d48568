// SPDX-License-Identifier: Apache-2.0
// Which indexers are trained, and the weights of a model with them.
#include "distill/student_weights.h"
#include "support/compare.h"
#include "support/distill_bench.h"

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("students are the F layers that feed an S layer") {
  const auto of = [](const char* pattern) { return students_of(Pattern::parse(pattern)); };
  CHECK(of("FFFF").empty());
  CHECK(of("FSSS") == std::vector<Student>{{0, 4}});
  CHECK(of("FFSSFSFF") == std::vector<Student>{{1, 4}, {4, 6}});
  CHECK(of("FSF") == std::vector<Student>{{0, 2}});
  CHECK(of("FSSS")[0].served() == 4);
}

TEST_CASE("all students are the segments of two layers and more that begin with an indexer") {
  CHECK(all_students({true, true, true}) == std::vector<Student>{{0, 2}, {0, 3}, {1, 3}});
  CHECK(all_students({true, false, true, false}) ==
        std::vector<Student>{{0, 2}, {0, 3}, {0, 4}, {2, 4}});
  CHECK(all_students({true}).empty());
  CHECK(all_students(std::vector<bool>(16, true)).size() == 120);
}

TEST_CASE("students begin with the parameters of the checkpoint, each in a row of its own") {
  DistillBench bench(golden("glm_moe_dsa_tiny"), {{1, 3}, {1, 4}, {4, 6}}, 64);
  const std::vector<float> parameters = bench.students.parameters();
  const auto columns = static_cast<std::size_t>(indexer_parameters(bench.config()));
  REQUIRE(parameters.size() == 3 * columns);
  for (std::size_t i = 0; i < 3; ++i) {
    const std::size_t layer = bench.students.students()[i].layer;
    const TrainedIndexer stored = read_indexer(bench.config(), bench.session.model.checkpoint,
                                               static_cast<std::int64_t>(layer));
    CHECK(indexer_of(bench.config(), layer, parameters.data() + i * columns) == stored);
    CHECK(bench.download(bench.students.weights(i)) ==
          IndexerParts{stored.wq_b, stored.wk, stored.weights_proj, stored.k_norm,
                       stored.k_norm_bias});
  }
  CHECK(std::ranges::count(bench.students.gradient_norms(), 0.0) == 3);
}

TEST_CASE("other indexers replace those of their layers and nothing else") {
  DistillBench bench(golden("deepseek_v32_tiny"), {{1, 3}, {4, 6}}, 64);
  WeightSource& base = bench.session.weights;
  StudentWeights weights(base, {{4, bench.students.weights(1)}});
  const auto address = [](const Tensor& tensor) { return tensor.data<void>(); };
  CHECK(address(weights.embedding()) == address(base.embedding()));
  CHECK(address(weights.final_norm()) == address(base.final_norm()));
  CHECK(address(weights.lm_head()) == address(base.lm_head()));
  CHECK(weights.is_stable() == base.is_stable());
  for (std::int64_t layer = 0; layer < bench.config().layers; ++layer) {
    CAPTURE(layer);
    const LayerWeights stored = base.layer(layer), other = weights.layer(layer);
    const IndexerWeights expected = layer == 4 ? bench.students.weights(1) : *stored.indexer;
    CHECK(address(other.indexer->wq_b) == address(expected.wq_b));
    CHECK(address(other.indexer->wk) == address(expected.wk));
    CHECK(address(other.indexer->k_norm) == address(expected.k_norm));
    CHECK(address(other.indexer->k_norm_bias) == address(expected.k_norm_bias));
    CHECK(address(other.indexer->weights_proj) == address(expected.weights_proj));
    CHECK(address(other.q_b) == address(stored.q_b));
    CHECK(address(other.k_absorb) == address(stored.k_absorb));
    CHECK(address(other.o) == address(stored.o));
    CHECK(other.mlp.has_value() == stored.mlp.has_value());
    CHECK(other.moe.has_value() == stored.moe.has_value());
  }
}

TEST_CASE("the mass of attention that a student selects is a share, and all of it for all keys") {
  const auto sequences = golden_ids("deepseek_v32_tiny");
  const auto longest = static_cast<std::int64_t>(sequences[0].size());
  DistillBench bench(golden("deepseek_v32_tiny"), {{1, 4}, {4, 6}}, longest);
  const std::int64_t k = bench.config().index_topk;
  const Features features = bench.features(sequences);
  const auto recall_of = [&](std::vector<PositionRange> ranges) {
    return bench.distiller.mass_recall(features, ranges);
  };
  const auto all = recall_of(position_ranges(longest, k, 32));
  CHECK(all.queries == static_cast<std::int64_t>(sequences.size()) * (longest - k));
  for (const double sum : all.sums) {
    const double share = sum / static_cast<double>(all.queries);
    // At least that of a selection at random.
    CHECK(share > static_cast<double>(k) / static_cast<double>(longest));
    CHECK(share < 1);
  }
  // The first query with a choice leaves out one of its positions.
  const auto first = recall_of({{k, k + 1}});
  CHECK(first.sums[0] / static_cast<double>(first.queries) > 0.8);
  CHECK(recall_of({{0, k}}).queries == 0);
}
