// SPDX-License-Identifier: Apache-2.0
// Operations on rows by themselves against plain loops in double precision.
#include "backend/cpu/cpu_backend.h"
#include "support/compare.h"
#include "support/random.h"

#include <cmath>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Two sequences, one of which does not fill a tile.
RowLayout two_segments() {
  RowLayout rows;
  rows.append(131, 0);
  rows.append(9, 4);
  return rows;
}

double silu(double x) {
  return x / (1 + std::exp(-x));
}

// y = W x in double.
std::vector<double> product(const std::vector<float>& w, const float* x, std::size_t out,
                            std::size_t in) {
  std::vector<double> y(out, 0.0);
  for (std::size_t i = 0; i < out; ++i) {
    for (std::size_t j = 0; j < in; ++j) y[i] += double{w[i * in + j]} * x[j];
  }
  return y;
}

}  // namespace

TEST_CASE("linear assigns and accumulates") {
  CpuBackend backend;
  const RowLayout rows = two_segments();
  const std::int64_t in = 37, out = 21;
  const auto x = random_floats(static_cast<std::size_t>(rows.total * in), 1);
  const auto w = random_floats(static_cast<std::size_t>(out * in), 2);
  const Tensor tx = backend.upload(x, rows.total, in);
  const Tensor tw = backend.upload(w, out, in);
  const Tensor ty = backend.allocate(rows.total, out, DType::f32);
  backend.linear(rows, tx, tw, ty, Store::assign);
  backend.linear(rows, tx, tw, ty, Store::accumulate);
  std::vector<float> expected;
  for (std::int64_t r = 0; r < rows.total; ++r) {
    for (double y : product(w, x.data() + r * in, out, in)) {
      expected.push_back(static_cast<float>(2 * y));
    }
  }
  CHECK_CLOSE(backend.download(ty), expected, 1e-6);
}

TEST_CASE("norms of rows, also of some columns and in place") {
  CpuBackend backend;
  const RowLayout rows = two_segments();
  const std::int64_t width = 50, used = 35;
  const auto x = random_floats(static_cast<std::size_t>(rows.total * width), 3);
  const auto w = random_floats(used, 4);
  const auto b = random_floats(used, 5);
  const Tensor weight = backend.upload(w, 1, used);
  const Tensor bias = backend.upload(b, 1, used);
  const Tensor rms = backend.upload(x, rows.total, width);
  const Tensor layer = backend.upload(x, rows.total, width);
  backend.rms_norm(rows, rms.columns(5, used), weight, 1e-3f, rms.columns(5, used));
  backend.layer_norm(rows, layer.columns(5, used), weight, bias, 1e-3f, layer.columns(5, used));
  std::vector<float> expected_rms = x, expected_layer = x;
  for (std::int64_t r = 0; r < rows.total; ++r) {
    double square = 0, mean = 0, variance = 0;
    const float* row = x.data() + r * width + 5;
    for (std::int64_t i = 0; i < used; ++i) square += double{row[i]} * row[i], mean += row[i];
    mean /= used;
    for (std::int64_t i = 0; i < used; ++i) variance += (row[i] - mean) * (row[i] - mean);
    for (std::int64_t i = 0; i < used; ++i) {
      const auto at = static_cast<std::size_t>(r * width + 5 + i);
      const auto c = static_cast<std::size_t>(i);
      expected_rms[at] = static_cast<float>(w[c] * row[i] / std::sqrt(square / used + 1e-3));
      expected_layer[at] =
          static_cast<float>(w[c] * (row[i] - mean) / std::sqrt(variance / used + 1e-3) + b[c]);
    }
  }
  CHECK_CLOSE(backend.download(rms), expected_rms, 1e-6);
  CHECK_CLOSE(backend.download(layer), expected_layer, 1e-6);
}

TEST_CASE("RoPE turns pairs of either layout by the row's position") {
  CpuBackend backend;
  RowLayout rows;
  rows.append(2, 3);  // positions 3 and 4
  const Tensor cosines = backend.upload(std::vector<float>{1, 1, 1, 1, 1, 1, 0, 1, 0, 0}, 5, 2);
  const Tensor sines = backend.upload(std::vector<float>{0, 0, 0, 0, 0, 0, 1, 0, 1, 1}, 5, 2);
  const std::vector<float> x = {1, 2, 3, 4, 9, 1, 2, 3, 4, 9};
  const Tensor in = backend.upload(x, 2, 5);
  const Tensor out = backend.upload(std::vector<float>(10, 7.0f), 2, 5);
  const Heads from{in, 1, 4, 4}, to{out, 1, 4, 4};
  backend.rope(rows, from, cosines, sines, RopeLayout::interleaved, to);
  // Position 3 turns the first pair by 90 degrees, position 4 both.
  CHECK(backend.download(out) == std::vector<float>{-2, 1, 3, 4, 7, -2, 1, -4, 3, 7});
  backend.rope(rows, from, cosines, sines, RopeLayout::half_split, to);
  CHECK(backend.download(out) == std::vector<float>{-3, 2, 1, 4, 7, -3, -4, 1, 2, 7});
}

TEST_CASE("the gated MLP and routed experts add to their output") {
  CpuBackend backend;
  const RowLayout rows = two_segments();
  const std::int64_t hidden = 24, width = 10, experts = 3;
  const auto x = random_floats(static_cast<std::size_t>(rows.total * hidden), 6);
  const Tensor tx = backend.upload(x, rows.total, hidden);
  std::vector<std::vector<float>> gate_up, down;
  ExpertWeights weights;
  for (std::uint32_t e = 0; e < experts; ++e) {
    gate_up.push_back(random_floats(static_cast<std::size_t>(2 * width * hidden), 10 + e));
    down.push_back(random_floats(static_cast<std::size_t>(hidden * width), 20 + e));
    weights.gate_up.push_back(backend.upload(gate_up[e], 2 * width, hidden));
    weights.down.push_back(backend.upload(down[e], hidden, width));
  }
  std::vector<std::int32_t> chosen;
  std::vector<float> shares;
  for (std::int32_t r = 0; r < rows.total; ++r) {
    chosen.insert(chosen.end(), {r % 2, 2});
    shares.insert(shares.end(), {0.25f, 1.5f});
  }
  const Routing routing{backend.upload(std::span<const std::int32_t>(chosen), rows.total, 2),
                        backend.upload(shares, rows.total, 2)};
  const Tensor out = backend.upload(x, rows.total, hidden);  // the residual
  backend.experts(rows, tx, routing, weights, out);
  backend.gated_mlp(rows, tx, weights.gate_up[0], weights.down[0], out);
  std::vector<float> expected;
  for (std::int64_t r = 0; r < rows.total; ++r) {
    std::vector<double> sum(x.begin() + r * hidden, x.begin() + (r + 1) * hidden);
    const auto add = [&](std::size_t e, double share) {
      const auto both = product(gate_up[e], x.data() + r * hidden, 2 * width, hidden);
      std::vector<float> middle;
      for (std::size_t i = 0; i < width; ++i) {
        middle.push_back(static_cast<float>(silu(both[i]) * both[width + i]));
      }
      const auto y = product(down[e], middle.data(), hidden, width);
      for (std::size_t i = 0; i < y.size(); ++i) sum[i] += share * y[i];
    };
    add(static_cast<std::size_t>(r % 2), 0.25);
    add(2, 1.5);
    add(0, 1);
    for (double value : sum) expected.push_back(static_cast<float>(value));
  }
  CHECK_CLOSE(backend.download(out), expected, 1e-6);
}

TEST_CASE("routing limits groups, orders by the biased score and weighs by the unbiased one") {
  CpuBackend backend;
  RowLayout rows;
  rows.append(2, 0);
  // Four groups of two. The bias lifts group 3; the sum of the two best decides between groups.
  const std::vector<float> logits = {2, -9, 1, 1, 0, 0, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
  const std::vector<float> bias = {0, 0, 0, 0, 0, 0, 5, 5};
  const RouterRule rule{
      .groups = 4, .kept_groups = 2, .experts_used = 3, .normalize = true, .scale = 2.5f};
  const Routing routing =
      backend.route(rows, backend.upload(logits, 2, 8), backend.upload(bias, 1, 8), rule);
  // Row 0: groups 3 (biased) and 1 (1 + 1 beats 2 - 9); row 1: equal scores go to lower experts.
  CHECK(backend.download_indices(routing.experts) == std::vector<std::int32_t>{2, 6, 7, 0, 6, 7});
  const auto p = [](double x) { return 1 / (1 + std::exp(-x)); };
  const double total = p(1) + 2 * p(-1);
  const auto share = [&](double x) { return static_cast<float>(2.5 * p(x) / total); };
  const auto third = static_cast<float>(2.5 / 3);
  CHECK_CLOSE(backend.download(routing.weights),
              (std::vector<float>{share(1), share(-1), share(-1), third, third, third}), 1e-6);
}

TEST_CASE("next-token loss sums each segment and skips rows without a target") {
  CpuBackend backend;
  RowLayout rows;
  rows.append(70, 0);
  rows.append(0, 70);
  rows.append(2, 0);
  const std::int64_t hidden = 8, vocabulary = 33;
  const auto x = random_floats(static_cast<std::size_t>(rows.total * hidden), 7);
  auto head = random_floats(static_cast<std::size_t>(vocabulary * hidden), 8);
  for (float& value : head)
    value *= 40;  // exponents far beyond float without the maximum taken out
  std::vector<std::int32_t> targets;
  for (std::int32_t r = 0; r < rows.total; ++r) targets.push_back(r % 33);
  targets[69] = -1;
  const auto sums = backend.next_token_loss(
      rows, backend.upload(x, rows.total, hidden), backend.upload(head, vocabulary, hidden),
      backend.upload(std::span<const std::int32_t>(targets), rows.total, 1));
  std::vector<double> expected(3, 0.0);
  for (std::int64_t r = 0; r < rows.total; ++r) {
    if (targets[static_cast<std::size_t>(r)] < 0) continue;
    const auto logits = product(head, x.data() + r * hidden, vocabulary, hidden);
    double peak = logits[0], sum = 0;
    for (double logit : logits) peak = std::max(peak, logit);
    for (double logit : logits) sum += std::exp(logit - peak);
    expected[r < 70 ? 0 : 2] +=
        peak + std::log(sum) -
        logits[static_cast<std::size_t>(targets[static_cast<std::size_t>(r)])];
  }
  CHECK_CLOSE(sums, expected, 1e-6);
}

TEST_CASE("rows are copied to the same positions of another layout") {
  CpuBackend backend;
  RowLayout tail, all;
  tail.append(2, 1);
  tail.append(0, 1);
  tail.append(1, 1);
  all.append(3, 0);
  all.append(1, 0);
  all.append(2, 0);
  const Tensor from = backend.upload(std::vector<float>{1, 2, 3}, 3, 1);
  const Tensor to = backend.upload(std::vector<float>(6, 0.0f), 6, 1);
  backend.copy_rows(tail, from, all, to);
  CHECK(backend.download(to) == std::vector<float>{0, 1, 2, 0, 0, 3});
}
