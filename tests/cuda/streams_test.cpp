// SPDX-License-Identifier: Apache-2.0
// Residual streams and gates: the GPU against the CPU backend.
#include "cuda/gpu.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

struct Shape {
  std::int64_t streams, hidden;
  int mixing_rounds = 0;
};

StreamWeights weights_of(Backend& b, const Shape& s, const StreamRule& rule, bool head) {
  const std::int64_t count = s.streams + (head ? 0 : rule.coefficients());
  const std::int64_t width = s.streams * s.hidden, parts = head ? 1 : s.mixing_rounds > 0 ? 3 : 2;
  auto mixer = random_floats(count_of(count, width), 71);
  for (float& value : mixer) value /= 4;
  std::vector<float> scales = {0.75f, -1.25f, 1.5f};
  scales.resize(static_cast<std::size_t>(parts));
  return {b.upload(mixer, count, width), b.upload(random_floats(count_of(1, count), 72), 1, count),
          b.upload(scales, 1, parts)};
}

Tensor poisoned_floats(Backend& b, std::int64_t rows, std::int64_t cols) {
  return b.upload(std::vector<float>(count_of(rows, cols), kPoison), rows, cols);
}

constexpr Shape kShapes[] = {{4, 6144},     {4, 32},    {3, 21},    {1, 40},   {8, 520},
                             {4, 4096, 20}, {4, 32, 1}, {3, 21, 2}, {1, 8, 3}, {8, 36, 20}};

}  // namespace

TEST_CASE("GPU sublayers read and write residual streams", "[large]") {
  const RowLayout rows = ragged_rows();
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const Shape& s : kShapes) {
      const StreamRule rule{s.streams, 0.3f, 0.25f, 1.5f, 0.125f, s.mixing_rounds};
      const auto streams = random_floats(count_of(rows.total, s.streams * s.hidden), 73);
      const auto y = random_floats(count_of(rows.total, s.hidden), 74);
      for (const bool head : {false, true}) {
        INFO(name_of(precision) << " " << s.streams << " x " << s.hidden << ", head " << head
                                << ", rounds " << s.mixing_rounds);
        Gpu gpu(precision);
        std::vector<std::vector<float>> results[2];
        CpuBackend cpu;
        for (Backend* b : {static_cast<Backend*>(&cpu), static_cast<Backend*>(&gpu.backend)}) {
          auto& of = results[b == &cpu ? 0 : 1];
          const Tensor x = b->upload(streams, rows.total, s.streams * s.hidden);
          const Tensor out = poisoned_floats(*b, rows.total, s.hidden);
          const Tensor factors =
              head ? Tensor() : poisoned_floats(*b, rows.total, rule.coefficients());
          b->read_streams(rows, x, weights_of(*b, s, rule, head), rule, out, factors);
          of.push_back(b->download(out));
          if (head) continue;
          of.push_back(b->download(factors));
          b->write_streams(rows, b->upload(y, rows.total, s.hidden), factors, x);
          of.push_back(b->download(x));
        }
        REQUIRE(results[0].size() == results[1].size());
        for (std::size_t i = 0; i < results[0].size(); ++i) {
          // A coefficient is a logistic function of a sum of up to 24,576 products.
          CHECK_CLOSE(results[1][i], results[0][i], 1e-4);
        }
      }
    }
  }
}

TEST_CASE("GPU streams give a row the same bits in any batch", "[large]") {
  const RowLayout rows = ragged_rows();
  for (const Shape& s : kShapes) {
    INFO(s.streams << " x " << s.hidden << ", rounds " << s.mixing_rounds);
    Gpu gpu(Precision::fp32);
    Backend& b = gpu.backend;
    const StreamRule rule{s.streams, 1e-5f, 1e-6f, 2.0f, 1e-6f, s.mixing_rounds};
    const Tensor x = b.upload(random_floats(count_of(rows.total, s.streams * s.hidden), 75),
                              rows.total, s.streams * s.hidden);
    const StreamWeights weights = weights_of(b, s, rule, false);
    const std::int64_t coefficients = rule.coefficients();
    const auto read = [&](const RowLayout& part, std::int64_t first) {
      const Tensor out = poisoned_floats(b, part.total, s.hidden);
      const Tensor factors = poisoned_floats(b, part.total, coefficients);
      b.read_streams(part, x.row_range(first, part.total), weights, rule, out, factors);
      auto values = b.download(out);
      const auto more = b.download(factors);
      values.insert(values.end(), more.begin(), more.end());
      return values;
    };
    const auto all = read(rows, 0);
    for (const std::int64_t row : {std::int64_t{0}, std::int64_t{130}, rows.total - 1}) {
      RowLayout one;
      one.append(1, 0);
      const auto alone = read(one, row);
      const auto at = [&](std::int64_t first, std::int64_t count) {
        return std::vector<float>(all.begin() + first, all.begin() + first + count);
      };
      auto expected = at(row * s.hidden, s.hidden);
      const auto factors = at(rows.total * s.hidden + row * coefficients, coefficients);
      expected.insert(expected.end(), factors.begin(), factors.end());
      CHECK(alone == expected);
    }
  }
}

TEST_CASE("GPU gates multiply heads by the sigmoid of others, or of themselves") {
  const RowLayout rows = ragged_rows();
  struct Heads3 {
    std::int64_t heads, width, stride, first;
  };
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const Heads3& s : {Heads3{3, 5, 11, 4}, {4, 64, 160, 96}, {1, 512, 512, 0}}) {
      INFO(name_of(precision) << " " << s.heads << " x " << s.width);
      Gpu gpu(precision);
      const auto x = gpu.random(rows.total, s.heads * s.width, 76);
      auto g = gpu.random(rows.total, s.heads * s.stride, 77);
      for (float& value : g) value *= 16;
      compare_backends(gpu, gpu.tolerance(1e-6), [&](Backend& b, auto put, auto) {
        const Tensor values = put(x, rows.total, s.heads * s.width);
        const Tensor gates = put(g, rows.total, s.heads * s.stride);
        b.sigmoid_gate(rows,
                       {gates.columns(s.first, gates.cols() - s.first), s.heads, s.stride, s.width},
                       {values, s.heads, s.width, s.width});
        return values;
      });
      compare_backends(gpu, gpu.tolerance(1e-6), [&](Backend& b, auto put, auto) {
        const Tensor values = put(x, rows.total, s.heads * s.width);
        b.sigmoid_gate(rows, one_head(values), one_head(values));
        return values;
      });
    }
  }
}

TEST_CASE("GPU lookups fill some columns of a residual") {
  Gpu gpu(Precision::bf16);
  const auto table = gpu.random(50, 24, 78);
  const std::vector<std::int32_t> tokens = {3, 49, 0, 3};
  compare_backends(gpu, 0.0, [&](Backend& b, auto put, auto) {
    const Tensor out = b.upload(std::vector<float>(4 * 72, 1.0f), 4, 72);
    b.embed(b.upload(std::span<const std::int32_t>(tokens), 4, 1), put(table, 50, 24),
            out.columns(24, 24));
    return out;
  });
}
