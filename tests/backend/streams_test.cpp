// SPDX-License-Identifier: Apache-2.0
// Residual streams against plain loops in double precision.
#include "backend/cpu/cpu_backend.h"
#include "support/compare.h"
#include "support/random.h"

#include <cmath>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Coefficients that are far from 0 and 1, and epsilons that are large enough to be seen.
struct StreamCase {
  StreamRule rule{
      .count = 3, .norm_eps = 0.3f, .eps = 0.25f, .factor_scale = 1.5f, .factor_eps = 0.125f};
  std::int64_t hidden = 21;
  RowLayout rows;
  std::vector<float> streams, mixer, base, scale;

  StreamCase() {
    rows.append(131, 0);
    rows.append(0, 4);
    rows.append(9, 4);
    streams = random_floats(static_cast<std::size_t>(rows.total * width()), 1);
    mixer = random_floats(static_cast<std::size_t>(2 * rule.count * width()), 2);
    base = random_floats(static_cast<std::size_t>(2 * rule.count), 3);
    scale = {0.75f, -1.25f};
  }

  std::int64_t width() const { return rule.count * hidden; }

  // Of the sublayers, or of the head, which has shares only.
  StreamWeights weights(Backend& b, bool head) const {
    const std::int64_t count = (head ? 1 : 2) * rule.count;
    const auto first = [](const std::vector<float>& all, std::int64_t size) {
      return std::vector<float>(all.begin(), all.begin() + size);
    };
    return {b.upload(first(mixer, count * width()), count, width()),
            b.upload(first(base, count), 1, count),
            b.upload(first(scale, head ? 1 : 2), 1, head ? 1 : 2)};
  }

  // sigmoid(scale * m + base) of coefficient i of a row.
  double coefficient(std::int64_t row, std::int64_t i) const {
    double squares = 0, product = 0;
    for (std::int64_t d = 0; d < width(); ++d) {
      const double x = streams[static_cast<std::size_t>(row * width() + d)];
      squares += x * x;
      product += x * mixer[static_cast<std::size_t>(i * width() + d)];
    }
    const double m =
        product / std::sqrt(squares / static_cast<double>(width()) + double{rule.norm_eps});
    const double logit = scale[i < rule.count ? 0 : 1] * m + base[static_cast<std::size_t>(i)];
    return 1 / (1 + std::exp(-logit));
  }

  std::vector<float> expected_mixture() const {
    std::vector<float> out;
    for (std::int64_t row = 0; row < rows.total; ++row) {
      for (std::int64_t d = 0; d < hidden; ++d) {
        double sum = 0;
        for (std::int64_t k = 0; k < rule.count; ++k) {
          sum += (coefficient(row, k) + double{rule.eps}) *
                 streams[static_cast<std::size_t>(row * width() + k * hidden + d)];
        }
        out.push_back(static_cast<float>(sum));
      }
    }
    return out;
  }

  std::vector<float> expected_factors() const {
    std::vector<float> out;
    for (std::int64_t row = 0; row < rows.total; ++row) {
      for (std::int64_t k = 0; k < rule.count; ++k) {
        out.push_back(static_cast<float>(rule.factor_scale * coefficient(row, rule.count + k) +
                                         double{rule.factor_eps}));
      }
    }
    return out;
  }
};

Tensor unset(Backend& b, std::int64_t rows, std::int64_t cols) {
  return b.upload(std::vector<float>(static_cast<std::size_t>(rows * cols), NAN), rows, cols);
}

}  // namespace

TEST_CASE("a sublayer reads a mixture of the streams, and gets factors for its result") {
  const StreamCase p;
  CpuBackend b;
  const Tensor streams = b.upload(p.streams, p.rows.total, p.width());
  for (const bool head : {false, true}) {
    INFO("head " << head);
    const Tensor out = unset(b, p.rows.total, p.hidden);
    const Tensor factors = head ? Tensor() : unset(b, p.rows.total, p.rule.count);
    b.read_streams(p.rows, streams, p.weights(b, head), p.rule, out, factors);
    CHECK_CLOSE(b.download(out), p.expected_mixture(), 1e-6);
    if (!head) CHECK_CLOSE(b.download(factors), p.expected_factors(), 1e-6);
  }
  CHECK(b.download(streams) == p.streams);
}

TEST_CASE("a result is added to every stream with its factor") {
  const StreamCase p;
  CpuBackend b;
  const auto y = random_floats(static_cast<std::size_t>(p.rows.total * p.hidden), 4);
  const auto factors = random_floats(static_cast<std::size_t>(p.rows.total * p.rule.count), 5);
  const Tensor streams = b.upload(p.streams, p.rows.total, p.width());
  b.write_streams(p.rows, b.upload(y, p.rows.total, p.hidden),
                  b.upload(factors, p.rows.total, p.rule.count), streams);
  std::vector<float> expected;
  for (std::int64_t row = 0; row < p.rows.total; ++row) {
    for (std::int64_t i = 0; i < p.width(); ++i) {
      const double factor = factors[static_cast<std::size_t>(row * p.rule.count + i / p.hidden)];
      const double result = y[static_cast<std::size_t>(row * p.hidden + i % p.hidden)];
      expected.push_back(static_cast<float>(
          p.streams[static_cast<std::size_t>(row * p.width() + i)] + factor * result));
    }
  }
  CHECK_CLOSE(b.download(streams), expected, 1e-6);
}

TEST_CASE("what a sequence reads of its streams does not depend on others") {
  const StreamCase p;
  CpuBackend b;
  const Tensor streams = b.upload(p.streams, p.rows.total, p.width());
  const StreamWeights weights = p.weights(b, false);
  const auto read = [&](const RowLayout& rows, const Tensor& of) {
    const Tensor out = unset(b, rows.total, p.hidden);
    const Tensor factors = unset(b, rows.total, p.rule.count);
    b.read_streams(rows, of, weights, p.rule, out, factors);
    return std::pair{b.download(out), b.download(factors)};
  };
  const auto all = read(p.rows, streams);
  RowLayout last;
  last.append(9, 4);
  const auto alone = read(last, streams.row_range(131, 9));
  CHECK(std::vector<float>(all.first.begin() + 131 * p.hidden, all.first.end()) == alone.first);
  CHECK(std::vector<float>(all.second.begin() + 131 * p.rule.count, all.second.end()) ==
        alone.second);
}
