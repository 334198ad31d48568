// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/cpu_backend.h"
#include "support/compare.h"
#include "support/random.h"

#include <algorithm>
#include <numeric>
#include <set>

using namespace indexcache;
using namespace indexcache::test;

namespace {

struct Case {
  RowLayout rows, keys;
  std::int64_t heads = 3, width = 20, k = 7;
  std::vector<float> queries, weights, key_values;
};

// Two sequences of 90 and 40 positions; queries from position k on.
Case make_case() {
  Case c;
  for (std::int64_t length : {90, 40}) {
    c.rows.append(length - c.k, c.k);
    c.keys.append(length, 0);
  }
  c.queries = random_floats(static_cast<std::size_t>(c.rows.total * c.heads * c.width), 1);
  c.weights = random_floats(static_cast<std::size_t>(c.rows.total * c.heads), 2);
  c.key_values = random_floats(static_cast<std::size_t>(c.keys.total * c.width), 3);
  return c;
}

double score(const Case& c, std::int64_t row, std::int64_t key_row) {
  double total = 0;
  for (std::int64_t h = 0; h < c.heads; ++h) {
    const float* q = c.queries.data() + (row * c.heads + h) * c.width;
    const float* k = c.key_values.data() + key_row * c.width;
    const double dot = std::inner_product(q, q + c.width, k, 0.0);
    total += c.weights[static_cast<std::size_t>(row * c.heads + h)] * std::max(dot, 0.0);
  }
  return total;
}

std::vector<std::int32_t> expected_sets(const Case& c) {
  std::vector<std::int32_t> sets;
  for (std::size_t s = 0; s < c.rows.segments.size(); ++s) {
    for (std::int64_t i = 0; i < c.rows.segments[s].rows; ++i) {
      std::vector<std::pair<double, std::int32_t>> order;
      for (std::int64_t u = 0; u <= c.k + i; ++u) {
        order.emplace_back(
            -score(c, c.rows.segments[s].first_row + i, c.keys.segments[s].first_row + u), u);
      }
      std::ranges::sort(order);
      std::set<std::int32_t> chosen;
      for (std::int64_t n = 0; n < c.k; ++n)
        chosen.insert(order[static_cast<std::size_t>(n)].second);
      sets.insert(sets.end(), chosen.begin(), chosen.end());
    }
  }
  return sets;
}

std::vector<std::int32_t> computed_sets(const Case& c, int threads) {
  CpuBackend backend(threads);
  const Tensor sets = backend.allocate(c.rows.total, c.k, DType::i32);
  std::fill_n(sets.data<std::int32_t>(), c.rows.total * c.k, -1);
  backend.index_topk(c.rows, backend.upload(c.queries, c.rows.total, c.heads * c.width),
                     backend.upload(c.weights, c.rows.total, c.heads), c.keys,
                     backend.upload(c.key_values, c.keys.total, c.width), sets);
  return backend.download_indices(sets);
}

}  // namespace

TEST_CASE("the indexer selects what its formula says, with any number of threads") {
  const Case c = make_case();
  const auto expected = expected_sets(c);
  CHECK(computed_sets(c, 1) == expected);
  CHECK(computed_sets(c, 3) == expected);
}

TEST_CASE("scores that are all zero keep the first positions") {
  Case c = make_case();
  std::ranges::fill(c.weights, 0.0f);
  for (std::size_t i = 0; const std::int32_t position : computed_sets(c, 2)) {
    CHECK(position == static_cast<std::int32_t>(i++ % 7));
  }
}

TEST_CASE("intersections are counted by bucket and pair, symmetric") {
  CpuBackend backend;
  RowLayout rows;
  rows.append(3, 4);  // positions 4, 5, 6
  const std::vector<std::int32_t> a = {0, 1, 1, 4, 2, 6};
  const std::vector<std::int32_t> b = {0, 2, 1, 4, 3, 5};
  const std::vector<Tensor> sets = {backend.upload(std::span<const std::int32_t>(a), 3, 2),
                                    backend.upload(std::span<const std::int32_t>(b), 3, 2)};
  const std::vector<std::int64_t> ends = {5, 10};
  CHECK(backend.overlap_counts(rows, sets, ends) ==
        std::vector<std::int64_t>{2, 1, 1, 2, 4, 2, 2, 4});
}
