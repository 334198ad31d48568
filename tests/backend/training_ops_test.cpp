// SPDX-License-Identifier: Apache-2.0
// The operations that train an indexer, each against its formula in double.
#include "backend/cpu/cpu_backend.h"
#include "support/compare.h"
#include "support/random.h"

#include <cmath>
#include <limits>

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::size_t elements(std::int64_t rows, std::int64_t cols) {
  return static_cast<std::size_t>(rows * cols);
}

// Queries of some positions of each sequence, against all of its keys.
struct TrainingRows {
  RowLayout queries, keys;
  std::int64_t longest = 0;

  // Positions [first, length) of every sequence.
  TrainingRows(const std::vector<std::int64_t>& lengths, std::int64_t first) {
    for (const std::int64_t length : lengths) {
      queries.append(length - first, first);
      keys.append(length, 0);
      longest = std::max(longest, length);
    }
  }
};

// Candidates of every query: half of what it sees, and always k of them.
std::vector<std::int32_t> spread_sets(const RowLayout& rows, std::int64_t k) {
  std::vector<std::int32_t> sets;
  for (const Segment& segment : rows.segments) {
    for (std::int64_t t = segment.first_position; t < segment.first_position + segment.rows; ++t) {
      for (std::int64_t i = 0; i < k; ++i) {
        sets.push_back(static_cast<std::int32_t>((i + 1) * (t + 1) / k - 1));
      }
    }
  }
  return sets;
}

constexpr std::int64_t kMeanHeads = 3, kHeadWidth = 7, kHeadStride = 9, kSetSize = 5;

struct MeanAttention {
  TrainingRows rows;
  std::vector<float> queries, keys, sums;
  std::vector<std::int32_t> sets;  // empty: dense
  std::int64_t columns;            // of sums
  float scale, weight;

  std::int64_t candidates(std::int64_t position) const {
    return sets.empty() ? position + 1 : kSetSize;
  }
};

MeanAttention make_mean_attention(bool sparse) {
  MeanAttention p{{{90, 6, 37}, kSetSize}, {}, {}, {}, {}, 0, 0.6f, 0.75f};
  p.columns = sparse ? kSetSize : p.rows.longest + 2;
  const std::int64_t rows = p.rows.queries.total;
  p.queries = random_floats(elements(rows, kMeanHeads * kHeadStride), 1);
  p.keys = random_floats(elements(p.rows.keys.total, kHeadWidth + 2), 2);
  p.sums = random_floats(elements(rows, p.columns), 3);
  if (sparse) p.sets = spread_sets(p.rows.queries, kSetSize);
  return p;
}

std::vector<float> expected_sums(const MeanAttention& p) {
  std::vector<float> sums = p.sums;
  for (std::size_t s = 0; s < p.rows.queries.segments.size(); ++s) {
    const Segment& segment = p.rows.queries.segments[s];
    for (std::int64_t i = 0; i < segment.rows * kMeanHeads; ++i) {
      const std::int64_t row = segment.first_row + i / kMeanHeads, head = i % kMeanHeads;
      const std::int64_t count = p.candidates(segment.first_position + i / kMeanHeads);
      const float* query = p.queries.data() + row * kMeanHeads * kHeadStride + head * kHeadStride;
      std::vector<double> q;
      double total = 0;
      for (std::int64_t c = 0; c < count; ++c) {
        const std::int64_t u =
            p.sets.empty() ? c : p.sets[elements(row, kSetSize) + elements(c, 1)];
        const float* key =
            p.keys.data() + (p.rows.keys.segments[s].first_row + u) * (kHeadWidth + 2);
        double dot = 0;
        for (std::int64_t d = 0; d < kHeadWidth; ++d) dot += double{query[d]} * double{key[d + 1]};
        q.push_back(std::exp(double{p.scale} * dot));
        total += q.back();
      }
      for (std::int64_t c = 0; c < count; ++c) {
        sums[elements(row, p.columns) + elements(c, 1)] +=
            static_cast<float>(double{p.weight} * q[elements(c, 1)] / (total * kMeanHeads));
      }
    }
  }
  return sums;
}

// With gaps between heads, and keys that are some columns of a wider tensor.
std::vector<float> computed_sums(Backend& backend, const MeanAttention& p) {
  const std::int64_t rows = p.rows.queries.total;
  const Tensor queries = backend.upload(p.queries, rows, kMeanHeads * kHeadStride);
  const Tensor keys = backend.upload(p.keys, p.rows.keys.total, kHeadWidth + 2);
  const Tensor sums = backend.upload(p.sums, rows, p.columns);
  const Tensor sets = p.sets.empty()
                          ? Tensor()
                          : backend.upload(std::span<const std::int32_t>(p.sets), rows, kSetSize);
  backend.mean_attention(p.rows.queries, {queries, kMeanHeads, kHeadStride, kHeadWidth},
                         p.rows.keys, keys.columns(1, kHeadWidth), sets, p.scale, p.weight, sums);
  return backend.download(sums);
}

constexpr std::int64_t kDistillHeads = 4, kDistillWidth = 6, kDistillTop = 8;

struct DistilledIndexer {
  std::vector<float> queries, head_weights, keys, divergences;

  bool operator==(const DistilledIndexer&) const = default;

  // What belongs to one sequence.
  DistilledIndexer part(const TrainingRows& rows, std::size_t s) const {
    const Segment &q = rows.queries.segments[s], &k = rows.keys.segments[s];
    const auto cut = [](const std::vector<float>& values, const Segment& of, std::int64_t width) {
      const auto begin = values.begin() + of.first_row * width;
      return std::vector<float>(begin, begin + of.rows * width);
    };
    return {cut(queries, q, kDistillHeads * kDistillWidth), cut(head_weights, q, kDistillHeads),
            cut(keys, k, kDistillWidth), cut(divergences, q, 1)};
  }
};

// Deterministic numbers that depend only on the sequence.
std::vector<float> per_sequence(const RowLayout& rows, std::int64_t width, std::uint32_t seed) {
  std::vector<float> values;
  for (const Segment& segment : rows.segments) {
    const auto part = random_floats(elements(segment.rows, width),
                                    seed + static_cast<std::uint32_t>(segment.rows));
    values.insert(values.end(), part.begin(), part.end());
  }
  return values;
}

DistilledIndexer distilled(Backend& backend, const TrainingRows& rows, bool sparse,
                           std::int64_t columns) {
  const std::int64_t count = rows.queries.total, keys = rows.keys.total;
  const auto upload = [&](const RowLayout& layout, std::int64_t width, std::uint32_t seed) {
    return backend.upload(per_sequence(layout, width, seed), layout.total, width);
  };
  std::vector<float> target = per_sequence(rows.queries, columns, 40);
  for (float& value : target) value = value * value / static_cast<float>(columns);
  const auto sets = spread_sets(rows.queries, kDistillTop);
  const IndexGradients gradients{backend.allocate(count, kDistillHeads * kDistillWidth),
                                 backend.allocate(count, kDistillHeads),
                                 backend.allocate(keys, kDistillWidth)};
  backend.fill_zero(gradients.keys);
  const Tensor divergences = backend.allocate(count, 1);
  backend.distill_indexer(
      rows.queries,
      {upload(rows.queries, kDistillHeads * kDistillWidth, 10),
       upload(rows.queries, kDistillHeads, 20), upload(rows.keys, kDistillWidth, 30), 0.3f},
      rows.keys,
      sparse ? backend.upload(std::span<const std::int32_t>(sets), count, kDistillTop) : Tensor(),
      {backend.upload(target, count, columns), 0.5f}, 0.25f, gradients, divergences);
  return {backend.download(gradients.queries), backend.download(gradients.head_weights),
          backend.download(gradients.keys), backend.download(divergences)};
}

}  // namespace

TEST_CASE("the attention averaged over heads is that of its formula, added to what was there") {
  CpuBackend one(1), three(3);
  for (const bool sparse : {false, true}) {
    CAPTURE(sparse);
    const MeanAttention problem = make_mean_attention(sparse);
    const std::vector<float> sums = computed_sums(one, problem);
    CHECK_CLOSE(sums, expected_sums(problem), 1e-6);
    CHECK(computed_sums(three, problem) == sums);
    // Columns beyond a row's candidates are as they were.
    const std::int64_t first = problem.candidates(kSetSize);
    for (std::int64_t c = first; c < problem.columns; ++c) {
      CHECK(sums[elements(c, 1)] == problem.sums[elements(c, 1)]);
    }
  }
}

TEST_CASE("the attention of a sequence alone has the bits that it has in a batch") {
  CpuBackend backend(2);
  const MeanAttention batch = make_mean_attention(false);
  const std::vector<float> sums = computed_sums(backend, batch);
  for (std::size_t s = 0; s < batch.rows.queries.segments.size(); ++s) {
    const Segment &q = batch.rows.queries.segments[s], &k = batch.rows.keys.segments[s];
    MeanAttention alone = batch;
    alone.rows = TrainingRows({k.rows}, kSetSize);
    const auto cut = [](std::vector<float>& values, const Segment& of, std::int64_t width) {
      values = {values.begin() + of.first_row * width,
                values.begin() + (of.first_row + of.rows) * width};
    };
    cut(alone.queries, q, kMeanHeads * kHeadStride);
    cut(alone.keys, k, kHeadWidth + 2);
    cut(alone.sums, q, alone.columns);
    const auto begin = sums.begin() + q.first_row * batch.columns;
    CHECK(computed_sums(backend, alone) ==
          std::vector<float>(begin, begin + q.rows * batch.columns));
  }
}

TEST_CASE("the gradients of a sequence alone have the bits that they have in a batch") {
  CpuBackend one(1), three(3);
  const std::vector<std::int64_t> lengths = {300, 9, 77};
  for (const bool sparse : {false, true}) {
    CAPTURE(sparse);
    const TrainingRows batch(lengths, kDistillTop);
    const std::int64_t columns = sparse ? kDistillTop : batch.longest;
    const DistilledIndexer together = distilled(one, batch, sparse, columns);
    CHECK(distilled(three, batch, sparse, columns) == together);
    for (std::size_t s = 0; s < lengths.size(); ++s) {
      const TrainingRows alone({lengths[s]}, kDistillTop);
      CHECK(distilled(one, alone, sparse, columns) == together.part(batch, s));
    }
  }
}

TEST_CASE("rows that were copied to a longer layout are gathered back") {
  CpuBackend backend;
  RowLayout whole, part;
  for (const std::int64_t length : {40, 3, 600}) {
    whole.append(length, 0);
    part.append(std::max<std::int64_t>(0, length - 20), 15);
  }
  const auto values = random_floats(elements(part.total, 5), 1);
  const Tensor x = backend.upload(values, part.total, 5);
  const Tensor all = backend.allocate(whole.total, 5), back = backend.allocate(part.total, 5);
  backend.fill_zero(all);
  backend.copy_rows(part, x, whole, all);
  backend.gather_rows(whole, all, part, back);
  CHECK(backend.download(back) == values);
  const auto placed = backend.download(all);
  CHECK(placed[elements(15, 5)] == values[0]);
  CHECK(placed[elements(14, 5)] == 0);
  CHECK(placed[elements(36, 5)] == 0);  // five positions of the first sequence are not in part
}

TEST_CASE("steps of Adam follow the formula, with a scale per row") {
  CpuBackend one(1), three(3);
  const std::int64_t rows = 3, columns = 40'001;  // more than one thread takes at once
  const std::vector<float> scales = {1.0f, 0.25f, 0.0f};
  const std::vector<float> start = random_floats(elements(rows, columns), 1);
  std::vector<double> p(start.begin(), start.end()), m(p.size()), v(p.size());
  const auto make = [&](Backend& backend) {
    std::vector<Tensor> tensors = {backend.upload(start, rows, columns)};
    for (int i = 0; i < 2; ++i) {
      tensors.push_back(backend.allocate(rows, columns));
      backend.fill_zero(tensors.back());
    }
    return tensors;
  };
  const auto on_one = make(one), on_three = make(three);
  for (std::int64_t step = 1; step <= 4; ++step) {
    const auto gradients = random_floats(p.size(), static_cast<std::uint32_t>(step) + 10);
    const float rate = 0.01f / static_cast<float>(step);
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double g = double{gradients[i]} * double{scales[i / elements(columns, 1)]};
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.95 * v[i] + 0.05 * g * g;
      const auto n = static_cast<double>(step);
      p[i] -= double{rate} * (m[i] / (1 - std::pow(0.9, n))) /
              (std::sqrt(v[i] / (1 - std::pow(0.95, n))) + 1e-8);
    }
    const AdamStep settings{rate, 0.9f, 0.95f, 1e-8f, step, scales};
    one.adam(settings, one.upload(gradients, rows, columns), on_one[1], on_one[2], on_one[0]);
    three.adam(settings, three.upload(gradients, rows, columns), on_three[1], on_three[2],
               on_three[0]);
  }
  const auto parameters = one.download(on_one[0]);
  CHECK_CLOSE(parameters, std::vector<float>(p.begin(), p.end()), 1e-6);
  CHECK_CLOSE(one.download(on_one[1]), std::vector<float>(m.begin(), m.end()), 1e-6);
  CHECK_CLOSE(one.download(on_one[2]), std::vector<float>(v.begin(), v.end()), 1e-6);
  CHECK(three.download(on_three[0]) == parameters);
  // A gradient that clipping takes away moves nothing.
  CHECK(std::equal(parameters.end() - columns, parameters.end(), start.end() - columns));
}

TEST_CASE("sums, zeros, conversions and norms of tensors of training") {
  CpuBackend one(1), three(3);
  const std::int64_t rows = 67, columns = 33;
  const auto x = random_floats(elements(rows, columns), 1),
             y = random_floats(elements(rows, columns), 2);
  for (CpuBackend* backend : {&one, &three}) {
    const Tensor out = backend->upload(y, rows, columns);
    backend->add(backend->upload(x, rows, columns), out);
    std::vector<float> sums;
    for (std::size_t i = 0; i < x.size(); ++i) sums.push_back(x[i] + y[i]);
    CHECK(backend->download(out) == sums);
    std::vector<double> norms(elements(rows, 1), 0.0);
    for (std::size_t i = 0; i < sums.size(); ++i) {
      norms[i / elements(columns, 1)] += double{sums[i]} * double{sums[i]};
    }
    const std::vector<double> computed = backend->squared_norms(out);
    CHECK_CLOSE(computed, norms, 1e-14);
    CHECK(computed == one.squared_norms(one.upload(sums, rows, columns)));
    backend->fill_zero(out.columns(3, 2));  // a view: its neighbors stay
    const auto holes = backend->download(out);
    CHECK((holes[2] == sums[2] && holes[3] == 0 && holes[4] == 0 && holes[5] == sums[5]));
    const Tensor copy = backend->allocate(columns, rows);
    backend->convert(backend->upload(x, rows, columns), copy);
    CHECK(backend->download(copy) == x);
  }
}

TEST_CASE("a norm is not finite where a gradient is not") {
  CpuBackend backend;
  std::vector<float> values(20, 1.0f);
  values[7] = std::numeric_limits<float>::infinity();
  values[12] = std::numeric_limits<float>::quiet_NaN();
  const auto norms = backend.squared_norms(backend.upload(values, 4, 5));
  CHECK((norms[0] == 5 && std::isinf(norms[1]) && std::isnan(norms[2]) && norms[3] == 5));
}

TEST_CASE("memory of distillation grows linearly with the length of sequences") {
  const std::int64_t queries = 64;
  std::vector<std::int64_t> peaks;
  for (const std::int64_t length : {256, 512, 1024}) {
    CpuBackend backend(1);
    const TrainingRows rows({length}, length - queries);
    distilled(backend, rows, false, length);
    peaks.push_back(backend.memory_use().peak_total);
  }
  CAPTURE(peaks);
  // From 512 to 1024 twice as much is added as from 256 to 512.
  CHECK(peaks[2] - peaks[1] == 2 * (peaks[1] - peaks[0]));
  // Per key: its vector and gradient, the target and the gradient of a score of every query.
  CHECK(peaks[1] - peaks[0] == 256 * 4 * (2 * kDistillWidth + 2 * queries));
}
