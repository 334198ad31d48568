// SPDX-License-Identifier: Apache-2.0
// Keys that represent several positions: what a row's candidates are, and every operation that
// reads them against its formula in double.
#include "support/compressed_keys.h"

#include "backend/cpu/cpu_backend.h"
#include "backend/row_chunks.h"
#include "support/compare.h"

#include <numeric>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr CompressedKeys::Shape kCompressed{3, 20, 12, 0};

double key_product(const CompressedKeys& c, std::int64_t row, std::int64_t head,
                   std::int64_t key_row) {
  const float* q = c.queries.data() + (row * c.shape.heads + head) * c.shape.width;
  return std::inner_product(q, q + c.shape.width, c.key_values.data() + key_row * c.shape.width,
                            0.0);
}

double index_score(const CompressedKeys& c, std::int64_t row, std::int64_t key_row) {
  double score = 0;
  for (std::int64_t h = 0; h < c.shape.heads; ++h) {
    score +=
        c.head_weights[CompressedKeys::count_of(row, c.shape.heads) + static_cast<std::size_t>(h)] *
        std::max(key_product(c, row, h, key_row), 0.0);
  }
  return score;
}

void normalize(std::vector<double>& exponents) {
  if (exponents.empty()) return;
  const double peak = *std::ranges::max_element(exponents);
  double total = 0;
  for (double& x : exponents) total += x = std::exp(x - peak);
  for (double& x : exponents) x /= total;
}

// Softmax of a head's attention over `set`.
std::vector<double> attention_of(const CompressedKeys& c, std::int64_t row, std::int64_t head,
                                 std::int64_t first_key, const std::vector<std::int32_t>& set) {
  std::vector<double> weights;
  for (const std::int32_t u : set) {
    weights.push_back(double{c.scale} * key_product(c, row, head, first_key + u));
  }
  normalize(weights);
  return weights;
}

std::vector<std::int32_t> expected_selection(const CompressedKeys& c, std::int64_t k) {
  std::vector<std::int32_t> sets;
  c.for_rows([&](std::int64_t row, std::int64_t first_key, std::int64_t candidates) {
    std::vector<std::pair<double, std::int32_t>> order;
    for (std::int64_t u = 0; u < candidates; ++u) {
      order.emplace_back(-index_score(c, row, first_key + u), static_cast<std::int32_t>(u));
    }
    std::ranges::sort(order);
    std::vector<std::int32_t> best;
    for (std::int64_t i = 0; i < k; ++i) best.push_back(order[static_cast<std::size_t>(i)].second);
    std::ranges::sort(best);
    sets.insert(sets.end(), best.begin(), best.end());
  });
  return sets;
}

std::vector<float> expected_attention(const CompressedKeys& c) {
  std::vector<float> out;
  c.for_rows([&](std::int64_t row, std::int64_t first_key, std::int64_t candidates) {
    const auto set = c.chosen(row, candidates);
    for (std::int64_t h = 0; h < c.shape.heads; ++h) {
      const auto weights = attention_of(c, row, h, first_key, set);
      for (std::int64_t d = 0; d < c.shape.value_width; ++d) {
        double value = 0;
        for (std::size_t i = 0; i < set.size(); ++i) {
          const float* key = c.key_values.data() + (first_key + set[i]) * c.shape.width;
          value += weights[i] * double{key[d]};
        }
        out.push_back(static_cast<float>(value));
      }
    }
  });
  return out;
}

std::vector<float> expected_means(const CompressedKeys& c) {
  std::vector<float> sums = c.sums;
  c.for_rows([&](std::int64_t row, std::int64_t first_key, std::int64_t candidates) {
    const auto set = c.chosen(row, candidates);
    for (std::int64_t h = 0; h < c.shape.heads; ++h) {
      const auto weights = attention_of(c, row, h, first_key, set);
      for (std::size_t i = 0; i < set.size(); ++i) {
        sums[CompressedKeys::count_of(row, c.columns) + i] +=
            static_cast<float>(double{c.weight} * weights[i] / static_cast<double>(c.shape.heads));
      }
    }
  });
  return sums;
}

struct DoubleGradients {
  std::vector<double> queries, head_weights, keys, divergences;
};

// Adds what one candidate of a row contributes, of which d is the gradient of the score.
void add_candidate(const CompressedKeys& c, std::int64_t row, std::int64_t key_row, double d,
                   DoubleGradients& out) {
  const std::int64_t width = c.shape.width;
  for (std::int64_t h = 0; h < c.shape.heads; ++h) {
    const std::size_t of_head =
        CompressedKeys::count_of(row, c.shape.heads) + static_cast<std::size_t>(h);
    const double product = key_product(c, row, h, key_row);
    if (product <= 0) continue;
    out.head_weights[of_head] += d * product;
    const double factor = d * double{c.head_weights[of_head]};
    for (std::int64_t i = 0; i < width; ++i) {
      const std::size_t q = of_head * static_cast<std::size_t>(width) + static_cast<std::size_t>(i);
      const std::size_t k = CompressedKeys::count_of(key_row, width) + static_cast<std::size_t>(i);
      out.queries[q] += factor * double{c.key_values[k]};
      out.keys[k] += factor * double{c.queries[q]};
    }
  }
}

CompressedKeys::Gradients expected_gradients(const CompressedKeys& c) {
  DoubleGradients out{std::vector<double>(c.queries.size()),
                      std::vector<double>(c.head_weights.size()),
                      std::vector<double>(c.key_values.size(), 0.125),
                      std::vector<double>(static_cast<std::size_t>(c.rows.total))};
  c.for_rows([&](std::int64_t row, std::int64_t first_key, std::int64_t candidates) {
    const auto set = c.chosen(row, candidates);
    std::vector<double> q;
    for (const std::int32_t u : set) {
      q.push_back(double{c.scale} * index_score(c, row, first_key + u));
    }
    normalize(q);
    for (std::size_t i = 0; i < set.size(); ++i) {
      const double p =
          double{c.target_scale} * c.sums[CompressedKeys::count_of(row, c.columns) + i];
      if (p > 0) out.divergences[static_cast<std::size_t>(row)] += p * std::log(p / q[i]);
      add_candidate(c, row, first_key + set[i], double{c.row_weight} * double{c.scale} * (q[i] - p),
                    out);
    }
  });
  const auto rounded = [](const std::vector<double>& values) {
    return std::vector<float>(values.begin(), values.end());
  };
  return {rounded(out.queries), rounded(out.head_weights), rounded(out.keys),
          rounded(out.divergences)};
}

}  // namespace

TEST_CASE("a position sees the keys whose positions it has reached") {
  for (const std::int64_t rate : {1, 3, 4, 128}) {
    const Segment keys{7, 50, 0, rate, rate};
    for (std::int64_t position = 0; position < 5 * rate; ++position) {
      CHECK(keys.candidates(position) == complete_keys(position, rate));
    }
    for (const std::int64_t count : {0, 1, 2, 16}) {
      const std::int64_t first = first_position_with_more(count, rate);
      CHECK(complete_keys(first, rate) == count + 1);
      CHECK(complete_keys(first - 1, rate) == count);
    }
    CHECK(first_position_with_more(512, 1) == 512);
  }
}

TEST_CASE("the keys of a compressed layout are at the first of their positions") {
  RowLayout keys;
  keys.append(5, 0);
  keys.append(3, 0, 4);
  CHECK(keys.segments[0] == Segment{0, 5, 0, 1, 1});
  CHECK(keys.segments[1].position(2) == 8);
  CHECK(keys.segments[1].last_position() == 8);
  CHECK(keys.segments[1].candidates(10) == 2);
}

TEST_CASE("a chunk of rows keeps their positions and what a row represents") {
  RowLayout keys;
  keys.append(700, 0, 4);
  const std::vector<RowChunk> chunks = row_chunks(keys, 256);
  REQUIRE(chunks.size() == 3);
  CHECK(chunks[1].rows.segments[0] == Segment{0, 256, 1024, 4, 4});
}

TEST_CASE("operations read the candidates of rows with compressed keys") {
  CpuBackend one(1), three(3);
  for (const std::int64_t rate : {1, 3, 4}) {
    for (const std::int64_t k : {0, 6}) {
      CAPTURE(rate, k);
      CompressedKeys::Shape shape = kCompressed;
      shape.k = k;
      const CompressedKeys attention(queries_that_see(k, rate), rate, shape);
      CHECK_CLOSE(attention.attended(one), expected_attention(attention), 1e-6);
      CHECK(attention.attended(three) == attention.attended(one));
      const CompressedKeys c(k > 0 ? queries_that_see(k, rate) : queries_from_the_beginning(rate),
                             rate, shape);
      CHECK_CLOSE(c.averaged(one), expected_means(c), 1e-6);
      CHECK(c.averaged(three) == c.averaged(one));
      const CompressedKeys::Gradients actual = c.distilled(one), expected = expected_gradients(c);
      CHECK_CLOSE(actual.divergences, expected.divergences, 1e-5);
      CHECK_CLOSE(actual.queries, expected.queries, 1e-5);
      CHECK_CLOSE(actual.head_weights, expected.head_weights, 1e-5);
      CHECK_CLOSE(actual.keys, expected.keys, 1e-5);
      CHECK(c.distilled(three) == actual);
    }
  }
}

TEST_CASE("rows without candidates train nothing") {
  CpuBackend backend;
  const CompressedKeys c(queries_before_any_key(4), 4, kCompressed);
  CHECK(c.averaged(backend) == c.sums);
  CHECK(c.distilled(backend) == expected_gradients(c));
}

TEST_CASE("the indexer selects among compressed keys") {
  CpuBackend backend(3);
  for (const std::int64_t rate : {1, 3, 4}) {
    for (const std::int64_t k : {1, 7, 33}) {
      CAPTURE(rate, k);
      const CompressedKeys c(queries_that_see(k, rate), rate, kCompressed);
      CHECK(c.selected(backend, k) == expected_selection(c, k));
    }
  }
}

TEST_CASE("compressed keys are rotated by the first of their positions") {
  CpuBackend backend;
  RowLayout compressed, positions;
  compressed.append(70, 0, 4);
  positions.append(280, 0);
  const auto table = random_floats(280 * 2, 5), values = random_floats(280 * 4, 6);
  std::vector<float> every_fourth;
  for (std::size_t row = 0; row < 280; row += 4) {
    for (std::size_t d = 0; d < 4; ++d) every_fourth.push_back(values[row * 4 + d]);
  }
  const Tensor cosines = backend.upload(table, 280, 2), sines = backend.upload(table, 280, 2);
  const auto rotated = [&](const RowLayout& rows, const std::vector<float>& x) {
    const Tensor tensor = backend.upload(x, rows.total, 4);
    const Heads heads{tensor, 1, 4, 4};
    backend.rope(rows, heads, cosines, sines, RopeLayout::interleaved, heads);
    return backend.download(tensor);
  };
  const auto all = rotated(positions, values), some = rotated(compressed, every_fourth);
  for (std::size_t i = 0; i < some.size(); ++i) CHECK(some[i] == all[i / 4 * 16 + i % 4]);
}
