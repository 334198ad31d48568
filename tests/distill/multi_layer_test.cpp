// SPDX-License-Identifier: Apache-2.0
// The multi-layer form of the loss, one teacher after the other, against the averaged form that is
// computed; and the memory of a step.
#include "calibration/token_set.h"
#include "io/hdf5.h"
#include "support/compare.h"
#include "support/distill_bench.h"

#include <cmath>
#include <numeric>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// The first tokens of sequences of dsa-mini's calibration set.
std::vector<std::vector<std::int32_t>> mini_ids(const std::vector<std::int64_t>& lengths) {
  const IntegerDataset tokens = Hdf5Reader(data("dsa-mini/calibration.h5")).integers("/tokens");
  std::vector<std::vector<std::int32_t>> sequences;
  for (const std::int64_t length : lengths) {
    const auto begin =
        tokens.values.begin() + static_cast<std::int64_t>(sequences.size()) * tokens.shape[1];
    sequences.emplace_back(begin, begin + length);
  }
  return sequences;
}

// A problem for one student: its queries are the positions from `first` on.
struct MultiLayerCase {
  std::filesystem::path model;
  Student student;
  std::vector<std::vector<std::int32_t>> sequences;
  std::optional<Pattern> pattern = {};  // sparse

  std::int64_t longest() const { return static_cast<std::int64_t>(sequences[0].size()); }
};

// Adds row_weight times the gradients of KL(p of `teacher` || q) for all queries at once, to the
// first student's; returns the sum of KL.
double add_teacher_gradients(DistillBench& bench, const Features& features,
                             const RowLayout& queries, std::size_t teacher, float row_weight,
                             bool sparse) {
  CpuBackend& backend = bench.backend();
  Decoder& decoder = bench.pass.decoder();
  const ModelConfig& c = bench.config();
  const LayerFeatures& own = features.layers[bench.students.students()[0].layer];
  const LayerFeatures& taught = features.layers[teacher];
  const IndexerWeights weights = bench.students.weights(0);
  const auto gather = [&](const Tensor& whole) {
    const Tensor part = backend.allocate(queries.total, whole.cols(), whole.dtype());
    backend.gather_rows(features.rows, whole, queries, part);
    return part;
  };
  const Tensor sets = sparse ? gather(own.sets) : Tensor();
  const Tensor keys = backend.allocate(features.rows.total, c.index_head_dim);
  const Tensor projected = backend.allocate(features.rows.total, c.index_head_dim);
  decoder.index_keys(weights, features.rows, own.x, projected, keys);
  const Tensor x = gather(own.x), q_latent = gather(own.q_latent);
  const IndexQueries asked = decoder.index_queries(weights, queries, q_latent, x);
  const QueryWeights& of_teacher = bench.pass.query_weights(teacher);
  const ProjectedQueries asking = decoder.project_queries(of_teacher.q_b, of_teacher.k_absorb,
                                                          queries, gather(taught.q_latent));
  const Heads& heads = asking.queries;
  std::int64_t columns = c.index_topk;
  for (const Segment& segment : features.rows.segments) {
    if (!sparse) columns = std::max(columns, segment.rows);
  }
  const Tensor sums = backend.allocate(queries.total, columns);
  backend.fill_zero(sums);
  backend.mean_attention(queries, heads, features.rows, taught.latents, sets, c.softmax_scale(),
                         1.0f, sums);
  const IndexGradients out{backend.allocate(queries.total, asked.queries.cols()),
                           backend.allocate(queries.total, asked.head_weights.cols()),
                           backend.allocate(features.rows.total, c.index_head_dim)};
  backend.fill_zero(out.keys);
  const Tensor divergences = backend.allocate(queries.total, 1);
  const auto scale =
      static_cast<float>(1 / std::sqrt(static_cast<double>(c.index_heads * c.index_head_dim)));
  backend.distill_indexer(queries, {asked.queries, asked.head_weights, keys, scale}, features.rows,
                          sets, {sums, 1.0f}, row_weight, out, divergences);
  const IndexerWeights gradients = bench.students.gradients(0);
  decoder.backward_index_queries(queries, q_latent, x, {out.queries, out.head_weights}, gradients);
  decoder.backward_index_keys(weights, features.rows, own.x, projected, out.keys, gradients);
  const std::vector<float> values = backend.download(divergences);
  return std::accumulate(values.begin(), values.end(), 0.0);
}

// Both forms have the same gradient; returns by how much the value of the multi-layer form is
// larger.
double check_forms(DistillBench& bench, const MultiLayerCase& problem) {
  const bool sparse = problem.pattern.has_value();
  const Pattern* pattern = sparse ? &*problem.pattern : nullptr;
  const Features features = bench.features(problem.sequences, pattern);
  const std::int64_t first = sparse ? bench.config().index_topk : 0;
  const RowLayout queries = rows_of(features.rows, {first, problem.longest()});
  const auto weight = 1 / static_cast<float>(queries.total);
  std::vector<PositionRange> ranges;
  for (const PositionRange& range :
       position_ranges(problem.longest(), bench.config().index_topk, 50)) {
    if (range.begin >= first) ranges.push_back(range);
  }
  bench.students.clear_gradients();
  const double averaged = bench.distiller.add_gradients(features, ranges, weight)[0];
  const IndexerParts expected = bench.gradients(0);
  bench.students.clear_gradients();
  const Student student = problem.student;
  const auto served = static_cast<float>(student.served());
  double multi = 0;
  for (std::size_t teacher = student.layer; teacher < student.end; ++teacher) {
    multi += add_teacher_gradients(bench, features, queries, teacher, weight / served, sparse);
  }
  const IndexerParts gradients = bench.gradients(0);
  for (std::size_t part = 0; part < gradients.size(); ++part) {
    CAPTURE(kIndexerParts[part]);
    CHECK_CLOSE(gradients[part], expected[part], 1e-5);
  }
  return (multi / double{served} - averaged) / static_cast<double>(queries.total);
}

void check_both(const MultiLayerCase& problem) {
  DistillBench bench(problem.model, {problem.student}, problem.longest(), {}, 2);
  const double difference = check_forms(bench, problem);
  CHECK(difference > 0);
  // Where queries have the same candidates, the difference does not depend on the student.
  if (problem.pattern) return;
  std::vector<float> parameters = bench.students.parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i] *= i % 3 == 0 ? 0.5f : 1.5f;
  bench.students.set_parameters(parameters);
  CHECK(std::abs(check_forms(bench, problem) - difference) < 1e-5 * difference + 1e-6);
}

}  // namespace

TEST_CASE("the averaged form has the gradient of the multi-layer form: a tiny model") {
  const auto sequences = golden_ids("deepseek_v32_tiny");
  check_both({golden("deepseek_v32_tiny"), {1, 4}, sequences});
  check_both({golden("deepseek_v32_tiny"), {1, 4}, sequences, Pattern::parse("FFSSFS")});
}

TEST_CASE("the averaged form has the gradient of the multi-layer form: dsa-mini") {
  const auto sequences = mini_ids({200, 150});
  check_both({data("dsa-mini"), {2, 9}, sequences});
  check_both({data("dsa-mini"), {2, 9}, sequences, Pattern::parse("FSFSSSSSSFFSSSSS")});
}

TEST_CASE("students that share teachers have the gradients that they have alone") {
  const auto sequences = golden_ids("glm_moe_dsa_tiny");
  const auto longest = static_cast<std::int64_t>(sequences[0].size());
  const std::vector<Student> all = all_students(std::vector<bool>(6, true));
  const auto gradients_of = [&](const std::vector<Student>& students, int threads) {
    DistillBench bench(golden("glm_moe_dsa_tiny"), students, longest, {}, threads);
    const Features features = bench.features(sequences);
    const auto ranges = position_ranges(longest, bench.config().index_topk, 32);
    const std::vector<double> sums = bench.distiller.add_gradients(features, ranges, 0.01f);
    std::vector<std::pair<double, IndexerParts>> found;
    for (std::size_t i = 0; i < sums.size(); ++i) found.emplace_back(sums[i], bench.gradients(i));
    return found;
  };
  const auto together = gradients_of(all, 1);
  CHECK(gradients_of(all, 3) == together);
  for (std::size_t i = 0; i < all.size(); i += 4) {
    const auto alone = gradients_of({all[i]}, 1);
    CAPTURE(all[i].layer, all[i].end);
    CHECK(std::abs(alone[0].first - together[i].first) < 1e-6 * alone[0].first);
    for (std::size_t part = 0; part < kIndexerParts.size(); ++part) {
      CHECK_CLOSE(alone[0].second[part], together[i].second[part], 1e-5);
    }
  }
}

TEST_CASE("the memory of a step grows linearly with the length of sequences") {
  std::vector<double> peaks;
  for (const std::int64_t length : {384, 768, 1152}) {
    DistillBench bench(data("dsa-mini"), {{2, 9}, {10, 16}}, length, {}, 2, 128);
    const auto before = bench.backend().memory_use().peak_total;
    const Features features = bench.features(mini_ids({length}));
    const auto ranges = position_ranges(length, bench.config().index_topk, 128);
    bench.distiller.add_gradients(features, ranges, 1 / static_cast<float>(length));
    peaks.push_back(static_cast<double>(bench.backend().memory_use().peak_total - before));
  }
  const double first = peaks[1] - peaks[0], second = peaks[2] - 2 * peaks[1] + peaks[0];
  CAPTURE(peaks);
  CHECK(first > 0);
  CHECK(std::abs(second) < 0.01 * first);
}
