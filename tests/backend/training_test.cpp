// SPDX-License-Identifier: Apache-2.0
// The gradients of an indexer, from the operations' own code in double against central differences
// of a forward pass that is written here, and in float against double.
#include "backend/cpu/arithmetic/distillation.h"
#include "backend/cpu/arithmetic/row_backward.h"
#include "backend/cpu/cpu_backend.h"
#include "support/compare.h"
#include "support/random.h"

#include <array>
#include <cmath>
#include <numeric>
#include <string>

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Doubles = std::vector<double>;

constexpr std::int64_t kIndexHeads = 3, kKeyWidth = 6, kPairs = 2, kLatent = 5, kHidden = 7,
                       kTop = 4;
constexpr double kEps = 1e-6, kRowWeight = 0.125, kTargetScale = 0.5;
constexpr std::array<std::int64_t, 2> kLengths = {11, 300};  // more than a tile of keys

// Parameters of an indexer by name, row-major.
struct Parameters {
  Doubles wq_b, wk, k_norm, k_norm_bias, weights_proj;

  std::array<Doubles*, 5> all() { return {&wq_b, &wk, &k_norm, &k_norm_bias, &weights_proj}; }
};

Doubles randoms(std::int64_t count, std::uint32_t seed) {
  const std::vector<float> values = random_floats(static_cast<std::size_t>(count), seed);
  return {values.begin(), values.end()};
}

struct IndexerCase {
  RowLayout layout;
  Doubles x, latents;              // [rows, H], [rows, rq]
  std::vector<std::int32_t> sets;  // [rows, K]; empty: dense
  Doubles sums;                    // [rows, candidates]
  std::int64_t candidates = 0;

  std::int64_t count(std::int64_t position) const { return sets.empty() ? position + 1 : kTop; }
};

// Sequences of the given lengths; a sparse problem has queries only where more than K are visible.
IndexerCase make_indexer_case(bool sparse) {
  IndexerCase p;
  for (const std::int64_t length : kLengths) p.layout.append(length, 0);
  p.x = randoms(p.layout.total * kHidden, 1);
  p.latents = randoms(p.layout.total * kLatent, 2);
  p.candidates = sparse ? kTop : kLengths.back();
  p.sums = randoms(p.layout.total * p.candidates, 3);
  for (const Segment& segment : p.layout.segments) {
    for (std::int64_t t = 0; t < segment.rows; ++t) {
      if (sparse) {
        for (std::int64_t i = 0; i < kTop; ++i) {
          p.sets.push_back(static_cast<std::int32_t>(t < kTop ? i : i * t / kTop + (i > 0)));
        }
      }
      double* row = p.sums.data() + (segment.first_row + t) * p.candidates;
      const std::int64_t n = p.count(t);
      double total = 0;
      for (std::int64_t i = 0; i < n; ++i) total += row[i] = row[i] * row[i];
      for (std::int64_t i = 0; i < n; ++i) row[i] /= total * kTargetScale;
    }
  }
  return p;
}

Parameters make_parameters() {
  return {randoms(kIndexHeads * kKeyWidth * kLatent, 4), randoms(kKeyWidth * kHidden, 5),
          randoms(kKeyWidth, 6), randoms(kKeyWidth, 7), randoms(kIndexHeads * kHidden, 8)};
}

void rotate(double* x, std::int64_t position, double direction) {
  for (std::int64_t j = 0; j < kPairs; ++j) {
    const double angle = static_cast<double>(position) / std::pow(10.0, static_cast<double>(j));
    const double c = std::cos(angle), s = direction * std::sin(angle);
    const double u = x[j], v = x[j + kPairs];
    x[j] = u * c - v * s, x[j + kPairs] = u * s + v * c;
  }
}

// out = x weight^T
Doubles product(const Doubles& x, std::int64_t width, const Doubles& weight) {
  Doubles out;
  for (std::size_t row = 0; row < x.size(); row += static_cast<std::size_t>(width)) {
    for (std::size_t o = 0; o < weight.size(); o += static_cast<std::size_t>(width)) {
      out.push_back(std::inner_product(weight.begin() + static_cast<std::ptrdiff_t>(o),
                                       weight.begin() + static_cast<std::ptrdiff_t>(o) + width,
                                       x.begin() + static_cast<std::ptrdiff_t>(row), 0.0));
    }
  }
  return out;
}

// What a forward pass leaves for the backward pass.
struct Forward {
  Doubles linear_keys, queries, keys, head_weights;
};

Forward forward(const IndexerCase& p, const Parameters& w) {
  Forward f{product(p.x, kHidden, w.wk),
            product(p.latents, kLatent, w.wq_b),
            {},
            product(p.x, kHidden, w.weights_proj)};
  f.keys = f.linear_keys;
  for (const Segment& segment : p.layout.segments) {
    for (std::int64_t t = 0; t < segment.rows; ++t) {
      const std::int64_t row = segment.first_row + t;
      double* key = f.keys.data() + row * kKeyWidth;
      const double mean = std::accumulate(key, key + kKeyWidth, 0.0) / kKeyWidth;
      double variance = 0;
      for (std::int64_t i = 0; i < kKeyWidth; ++i) variance += (key[i] - mean) * (key[i] - mean);
      const double factor = 1 / std::sqrt(variance / kKeyWidth + kEps);
      for (std::int64_t i = 0; i < kKeyWidth; ++i) {
        const auto at = static_cast<std::size_t>(i);
        key[i] = w.k_norm[at] * (key[i] - mean) * factor + w.k_norm_bias[at];
      }
      rotate(key, t, 1);
      for (std::int64_t h = 0; h < kIndexHeads; ++h) {
        rotate(f.queries.data() + (row * kIndexHeads + h) * kKeyWidth, t, 1);
      }
    }
  }
  return f;
}

double score_scale() {
  return static_cast<float>(1 / std::sqrt(static_cast<double>(kIndexHeads * kKeyWidth)));
}

// row_weight * sum of KL(p || q), from its definition.
double loss(const IndexerCase& p, const Parameters& w) {
  const Forward f = forward(p, w);
  double total = 0;
  for (const Segment& segment : p.layout.segments) {
    for (std::int64_t t = 0; t < segment.rows; ++t) {
      const std::int64_t row = segment.first_row + t;
      Doubles scores;
      for (std::int64_t i = 0; i < p.count(t); ++i) {
        const std::int64_t u =
            p.sets.empty() ? i : p.sets[static_cast<std::size_t>(row * kTop + i)];
        const double* key = f.keys.data() + (segment.first_row + u) * kKeyWidth;
        double score = 0;
        for (std::int64_t h = 0; h < kIndexHeads; ++h) {
          const double* q = f.queries.data() + (row * kIndexHeads + h) * kKeyWidth;
          score += f.head_weights[static_cast<std::size_t>(row * kIndexHeads + h)] *
                   std::max(0.0, std::inner_product(q, q + kKeyWidth, key, 0.0));
        }
        scores.push_back(score_scale() * score);
      }
      double sum = 0;
      for (const double score : scores) sum += std::exp(score);
      for (std::size_t i = 0; i < scores.size(); ++i) {
        const double target =
            kTargetScale * p.sums[static_cast<std::size_t>(row * p.candidates) + i];
        total += target * (std::log(target) - scores[i] + std::log(sum));
      }
    }
  }
  return kRowWeight * total;
}

// A tensor over numbers of a test: of 8 bytes each for Real = double.
template <typename Real>
Tensor tensor(std::vector<Real>& values, std::int64_t cols) {
  const auto dtype = sizeof(Real) == 8 ? DType::i64 : DType::f32;
  return {std::shared_ptr<void>(values.data(), [](void*) {}),
          static_cast<std::int64_t>(values.size()) / cols, cols, dtype};
}

template <typename Real>
std::vector<Real> to(const Doubles& values) {
  return {values.begin(), values.end()};
}

// The gradients that the operations' code gives, and the sum of divergences.
template <typename Real>
Parameters gradients(const IndexerCase& p, const Parameters& w, double& value) {
  Forward f = forward(p, w);
  auto x = to<Real>(p.x), latents = to<Real>(p.latents), sums = to<Real>(p.sums);
  auto queries = to<Real>(f.queries), keys = to<Real>(f.keys), weights = to<Real>(f.head_weights);
  auto linear_keys = to<Real>(f.linear_keys), norm = to<Real>(w.k_norm);
  const auto rows = static_cast<std::size_t>(p.layout.total);
  std::vector<Real> d_queries(queries.size()), d_keys(keys.size()), d_weights(weights.size());
  std::vector<Real> divergences(rows), d_scores(sums.size(), Real(7));
  std::vector<std::int32_t> sets = p.sets;
  const Tensor set_tensor = sets.empty() ? Tensor()
                                         : Tensor(std::shared_ptr<void>(sets.data(), [](void*) {}),
                                                  p.layout.total, kTop, DType::i32);
  cpu::distill<Real>(2, {p.layout,
                         {tensor(queries, kIndexHeads * kKeyWidth), tensor(weights, kIndexHeads),
                          tensor(keys, kKeyWidth), static_cast<float>(score_scale())},
                         p.layout,
                         set_tensor,
                         {tensor(sums, p.candidates), static_cast<float>(kTargetScale)},
                         static_cast<Real>(kRowWeight),
                         {tensor(d_queries, kIndexHeads * kKeyWidth),
                          tensor(d_weights, kIndexHeads), tensor(d_keys, kKeyWidth)},
                         tensor(divergences, 1),
                         tensor(d_scores, p.candidates)});
  value = kRowWeight * std::accumulate(divergences.begin(), divergences.end(), 0.0);
  const auto rotate_back = [&](std::vector<Real>& values, std::int64_t heads) {
    for (const Segment& segment : p.layout.segments) {
      for (std::int64_t i = 0; i < segment.rows * heads; ++i) {
        Real* of_head = values.data() + (segment.first_row * heads + i) * kKeyWidth;
        Doubles wide(of_head, of_head + kKeyWidth);
        rotate(wide.data(), i / heads, -1);
        std::copy(wide.begin(), wide.end(), of_head);
      }
    }
  };
  rotate_back(d_queries, kIndexHeads);
  rotate_back(d_keys, 1);
  std::vector<Real> g_wq(w.wq_b.size()), g_wk(w.wk.size()), g_proj(w.weights_proj.size());
  std::vector<Real> g_norm(w.k_norm.size()), g_bias(w.k_norm_bias.size());
  cpu::add_linear_gradient<Real>(2, p.layout, tensor(latents, kLatent),
                                 tensor(d_queries, kIndexHeads * kKeyWidth), tensor(g_wq, kLatent));
  cpu::add_linear_gradient<Real>(2, p.layout, tensor(x, kHidden), tensor(d_weights, kIndexHeads),
                                 tensor(g_proj, kHidden));
  cpu::layer_norm_gradients<Real>(p.layout, tensor(linear_keys, kKeyWidth), tensor(norm, kKeyWidth),
                                  static_cast<Real>(kEps), tensor(d_keys, kKeyWidth),
                                  tensor(g_norm, kKeyWidth), tensor(g_bias, kKeyWidth));
  cpu::add_linear_gradient<Real>(2, p.layout, tensor(x, kHidden), tensor(d_keys, kKeyWidth),
                                 tensor(g_wk, kHidden));
  const auto wide = [](const std::vector<Real>& v) { return Doubles(v.begin(), v.end()); };
  return {wide(g_wq), wide(g_wk), wide(g_norm), wide(g_bias), wide(g_proj)};
}

// Central differences of every parameter.
Parameters differences(const IndexerCase& p, Parameters w) {
  constexpr double kStep = 1e-5;
  Parameters result = w;
  for (std::size_t i = 0; i < w.all().size(); ++i) {
    for (std::size_t j = 0; j < w.all()[i]->size(); ++j) {
      double& value = (*w.all()[i])[j];
      const double before = value;
      value = before + kStep;
      const double above = loss(p, w);
      value = before - kStep;
      (*result.all()[i])[j] = (above - loss(p, w)) / (2 * kStep);
      value = before;
    }
  }
  return result;
}

}  // namespace

TEST_CASE("the gradients of an indexer in double are central differences, in float nearly") {
  for (const bool sparse : {false, true}) {
    CAPTURE(sparse);
    const IndexerCase problem = make_indexer_case(sparse);
    const Parameters parameters = make_parameters();
    double value = 0, float_value = 0;
    Parameters exact = gradients<double>(problem, parameters, value);
    Parameters expected = differences(problem, parameters);
    Parameters rounded = gradients<float>(problem, parameters, float_value);
    CHECK(std::abs(value - loss(problem, parameters)) < 1e-7 * value);
    CHECK(std::abs(float_value - value) < 1e-5 * value);
    for (std::size_t i = 0; i < exact.all().size(); ++i) {
      CAPTURE(i);
      CHECK_CLOSE(*exact.all()[i], *expected.all()[i], 1e-6);
      CHECK_CLOSE(*rounded.all()[i], *exact.all()[i], 1e-4);
    }
  }
}
