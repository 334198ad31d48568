// SPDX-License-Identifier: Apache-2.0
// What DeepSeek-V4 needs beside the operations of other families, against plain loops in double:
// entries, attention over a window and entries, streams that are mixed, experts of a table.
#include "backend/cpu/cpu_backend.h"
#include "support/compare.h"
#include "support/entry_rows.h"
#include "support/plain_entries.h"
#include "support/plain_streams.h"
#include "support/random.h"

#include <array>
#include <cmath>
#include <numeric>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr std::int64_t kRatio = 4;

std::size_t count(std::int64_t rows, std::int64_t cols) {
  return static_cast<std::size_t>(rows * cols);
}

Tensor random_rows(Backend& b, std::int64_t rows, std::int64_t cols, std::uint32_t seed) {
  return b.upload(random_floats(count(rows, cols), seed), rows, cols);
}

Tensor unset_rows(Backend& b, std::int64_t rows, std::int64_t cols) {
  return b.upload(std::vector<float>(count(rows, cols), NAN), rows, cols);
}

}  // namespace

TEST_CASE("entries are means that gates weigh, of their own positions or of those before as well") {
  CpuBackend b;
  const RowLayout rows = positions_of_sequences();
  for (const auto& [ratio, n, width] :
       {std::array<std::int64_t, 3>{kRatio, 38, 19}, {16, 19, 19}, {40, 21, 21}}) {
    INFO("ratio " << ratio << ", " << n << " columns");
    const RowLayout entries = entries_of(rows, ratio);
    const Tensor x = random_rows(b, rows.total, 2 * n, 31), bias = random_rows(b, ratio, n, 32);
    const Tensor out = unset_rows(b, entries.total, width);
    b.pool_entries(rows, x, bias, entries, out);
    std::vector<float> expected;
    for (std::size_t s = 0; s < entries.segments.size(); ++s) {
      for (std::int64_t e = 0; e < entries.segments[s].rows; ++e) {
        for (std::int64_t c = 0; c < width; ++c) {
          expected.push_back(
              static_cast<float>(pooled_plainly(x, bias, rows.segments[s].first_row, e, c, width)));
        }
      }
    }
    CHECK_CLOSE(b.download(out), expected, 1e-6);
  }
}

namespace {

// Queries of the last positions of each sequence, at any thread count the same bits.
struct Attended {
  static constexpr std::int64_t kHeads = 5, kWidth = 22, kTopk = 7;
  RowLayout keys = positions_of_sequences(), rows;

  explicit Attended(std::int64_t first) {
    for (const Segment& segment : keys.segments) {
      rows.append(std::max<std::int64_t>(segment.rows - first, 0), first);
    }
  }

  // Every second candidate, from the first that a query sees.
  Tensor sets(Backend& b) const {
    std::vector<std::int32_t> all;
    for (const Segment& segment : rows.segments) {
      for (std::int64_t i = 0; i < segment.rows; ++i) {
        for (std::int32_t k = 0; k < kTopk; ++k)
          all.push_back(k + static_cast<std::int32_t>(i) % 2);
      }
    }
    return b.upload(std::span<const std::int32_t>(all), rows.total, kTopk);
  }
};

}  // namespace

TEST_CASE("a query attends to the keys of its window and to entries, with one softmax") {
  CpuBackend b;
  for (const bool selects : {false, true}) {
    for (const std::int64_t window : {1, 12, 500}) {
      const Attended a(selects ? kRatio * (Attended::kTopk + 1) - 1 : 0);
      INFO("window " << window << ", sets " << selects);
      const RowLayout entry_rows = entries_of(a.keys, kRatio);
      const Tensor keys = random_rows(b, a.keys.total, a.kWidth, 41);
      const Tensor entries = random_rows(b, entry_rows.total, a.kWidth, 42);
      const Tensor queries = random_rows(b, a.rows.total, a.kHeads * a.kWidth, 43);
      const Tensor sinks = random_rows(b, 1, a.kHeads, 44);
      const Heads of{queries, a.kHeads, a.kWidth, a.kWidth};
      const Tensor sets = selects ? a.sets(b) : Tensor();
      for (const Tensor& seen : {entries, Tensor()}) {
        const WindowKeys all{a.keys, keys, window, entry_rows, seen, sets};
        const Tensor out = unset_rows(b, a.rows.total, a.kHeads * a.kWidth);
        const Tensor expected = unset_rows(b, a.rows.total, a.kHeads * a.kWidth);
        b.window_attention(a.rows, of, all, 0.4f, {out, a.kHeads, a.kWidth, a.kWidth}, sinks);
        window_attention_plainly(a.rows, of, all, 0.4f, {expected, a.kHeads, a.kWidth, a.kWidth},
                                 sinks);
        CHECK_CLOSE(b.download(out), b.download(expected), 1e-6);
      }
    }
  }
}

TEST_CASE("a sequence's entries and attention do not depend on others or on threads") {
  const auto computed = [](const RowLayout& rows, int threads, std::int64_t first_row) {
    CpuBackend b(threads);
    const RowLayout entry_rows = entries_of(rows, kRatio);
    const Tensor x = random_rows(b, 194, 4 * 16, 51).row_range(first_row, rows.total);
    const Tensor out = unset_rows(b, entry_rows.total, 16);
    b.pool_entries(rows, x, random_rows(b, kRatio, 32, 52), entry_rows, out);
    const Tensor mixed = unset_rows(b, rows.total, 32);
    const Tensor queries = random_rows(b, 194, 32, 53).row_range(first_row, rows.total);
    const Tensor keys = random_rows(b, 194, 16, 54).row_range(first_row, rows.total);
    b.window_attention(rows, {queries, 2, 16, 16}, {rows, keys, 9, entry_rows, out, Tensor()}, 0.3f,
                       {mixed, 2, 16, 16}, random_rows(b, 1, 2, 55));
    return std::pair{b.download(out), b.download(mixed)};
  };
  const auto all = computed(positions_of_sequences(), 1, 0);
  CHECK(computed(positions_of_sequences(), 3, 0) == all);
  RowLayout last;
  last.append(41, 0);
  const auto alone = computed(last, 2, 153);
  CHECK(std::vector<float>(all.first.end() - 10 * 16, all.first.end()) == alone.first);
  CHECK(std::vector<float>(all.second.end() - 41 * 32, all.second.end()) == alone.second);
}

namespace {

StreamRule mixing_rule(int rounds) {
  return {.count = 3,
          .norm_eps = 0.3f,
          .eps = 0.05f,
          .factor_scale = 1.5f,
          .factor_eps = 0.125f,
          .mixing_rounds = rounds};
}

struct Mixing {
  static constexpr std::int64_t kHidden = 21;
  StreamRule rule;
  RowLayout rows;
  std::vector<float> streams;
  PlainStreamWeights weights;

  explicit Mixing(int rounds) : rule(mixing_rule(rounds)) {
    rows.append(131, 0);
    rows.append(9, 4);
    const std::int64_t outputs = rule.count + rule.coefficients();
    streams = random_floats(count(rows.total, width()), 61);
    weights = {random_floats(count(outputs, width()), 62),
               random_floats(count(1, outputs), 63),
               {0.75f, -1.25f, 1.5f}};
  }

  std::int64_t width() const { return rule.count * kHidden; }
  StreamWeights uploaded(Backend& b) const {
    const auto outputs = static_cast<std::int64_t>(weights.base.size());
    return {b.upload(weights.mixer, outputs, width()), b.upload(weights.base, 1, outputs),
            b.upload(weights.scale, 1, 3)};
  }
  StreamReading reading(std::int64_t row, const StreamMistakes& mistakes = {}) const {
    return read_plainly(streams.data() + row * width(), kHidden, weights, rule, mistakes);
  }
};

// The largest difference of the coefficients of all rows.
double most_different(const Mixing& m, const Mixing& other, const StreamMistakes& mistakes) {
  double most = 0;
  for (std::int64_t row = 0; row < m.rows.total; ++row) {
    const auto a = m.reading(row).coefficients, b = other.reading(row, mistakes).coefficients;
    for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  }
  return most;
}

}  // namespace

TEST_CASE("streams are mixed with a matrix whose rows and columns are normalized in turn") {
  CpuBackend b;
  for (const int rounds : {1, 2, 20}) {
    INFO(rounds << " rounds");
    const Mixing m(rounds);
    const Tensor out = unset_rows(b, m.rows.total, m.kHidden);
    const Tensor coefficients = unset_rows(b, m.rows.total, m.rule.coefficients());
    b.read_streams(m.rows, b.upload(m.streams, m.rows.total, m.width()), m.uploaded(b), m.rule, out,
                   coefficients);
    std::vector<float> mixture, expected;
    for (std::int64_t row = 0; row < m.rows.total; ++row) {
      const StreamReading reading = m.reading(row);
      mixture.insert(mixture.end(), reading.mixture.begin(), reading.mixture.end());
      expected.insert(expected.end(), reading.coefficients.begin(), reading.coefficients.end());
    }
    CHECK_CLOSE(b.download(out), mixture, 1e-6);
    CHECK_CLOSE(b.download(coefficients), expected, 2e-6);
  }
  // The order of the steps and the number of rounds would be seen.
  CHECK(most_different(Mixing(2), Mixing(2), {.rows_first = true}) > 1e-3);
  CHECK(most_different(Mixing(2), Mixing(3), {}) > 1e-3);
  CHECK(most_different(Mixing(2), Mixing(2), {.norm_of_each = true}) > 1e-3);
}

TEST_CASE("a result is added to streams that are mixed: column k of the matrix makes stream k") {
  CpuBackend b;
  const Mixing m(2);
  const auto n = static_cast<std::size_t>(m.rule.count), hidden = std::size_t{Mixing::kHidden};
  const auto y = random_floats(count(m.rows.total, m.kHidden), 64);
  const auto coefficients = random_floats(count(m.rows.total, m.rule.coefficients()), 65);
  const Tensor streams = b.upload(m.streams, m.rows.total, m.width());
  b.write_streams(m.rows, b.upload(y, m.rows.total, m.kHidden),
                  b.upload(coefficients, m.rows.total, m.rule.coefficients()), streams);
  std::vector<float> expected;
  for (std::size_t row = 0; row < static_cast<std::size_t>(m.rows.total); ++row) {
    const float* c = coefficients.data() + row * (n + n * n);
    for (std::size_t k = 0; k < n; ++k) {
      for (std::size_t i = 0; i < hidden; ++i) {
        double sum = double{c[k]} * y[row * hidden + i];
        for (std::size_t j = 0; j < n; ++j) {
          sum += double{c[n + j * n + k]} * m.streams[(row * n + j) * hidden + i];
        }
        expected.push_back(static_cast<float>(sum));
      }
    }
  }
  CHECK_CLOSE(b.download(streams), expected, 1e-6);
}

TEST_CASE("experts of a table get weights from the square root of softplus") {
  CpuBackend b;
  RowLayout rows;
  rows.append(3, 0);
  const std::vector<float> logits = {-40, -1, 0.5f, 30, 2, 2, 2, 2, -3, 0, 3, 25};
  const std::vector<std::int32_t> chosen = {3, 0, 2, 1, 1, 3};
  RouterRule rule{
      .groups = 1, .kept_groups = 1, .experts_used = 2, .normalize = true, .scale = 1.5f};
  rule.score = RouterScore::sqrt_softplus;
  const Tensor uploaded = b.upload(logits, 3, 4);
  const Routing routing =
      b.weigh_experts(rows, uploaded, b.upload(std::span<const std::int32_t>(chosen), 3, 2), rule);
  const auto score = [&](std::size_t row, std::size_t p) {
    const double x = logits[4 * row + static_cast<std::size_t>(chosen[2 * row + p])];
    return std::sqrt(std::log1p(std::exp(x)));
  };
  std::vector<float> expected;
  for (std::size_t row = 0; row < 3; ++row) {
    const double total = score(row, 0) + score(row, 1);
    for (std::size_t p = 0; p < 2; ++p) {
      expected.push_back(static_cast<float>(1.5 * score(row, p) / total));
    }
  }
  CHECK_CLOSE(b.download(routing.weights), expected, 1e-6);
  CHECK(b.download_indices(routing.experts) == chosen);
  // Without a table the highest scores choose, with a bias that is not in the weights.
  const Routing free =
      b.route(rows, uploaded, b.upload(std::vector<float>{0, 0, 100, 0}, 1, 4), rule);
  CHECK(b.download_indices(free.experts) == std::vector<std::int32_t>{2, 3, 0, 2, 2, 3});
}
