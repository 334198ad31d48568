// SPDX-License-Identifier: Apache-2.0
// Operations on rows by themselves against plain loops in double precision.
#include "backend/cpu/cpu_backend.h"
#include "backend/row_chunks.h"
#include "support/compare.h"
#include "support/random.h"

#include <algorithm>
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

// Logarithms of the softmax.
std::vector<double> log_probabilities(std::vector<double> logits) {
  double peak = logits[0], sum = 0;
  for (double logit : logits) peak = std::max(peak, logit);
  for (double logit : logits) sum += std::exp(logit - peak);
  for (double& logit : logits) logit -= peak + std::log(sum);
  return logits;
}

// Random multiples of 1/64 up to `scale`.
std::vector<float> random_steps(std::int64_t count, float scale, std::uint32_t seed) {
  auto values = random_floats(static_cast<std::size_t>(count), seed);
  for (float& value : values) value = std::round(64 * scale * value) / 64;
  return values;
}

// Inputs of a comparison: rows of a reference, others close to it and far from it, and targets of
// which some are negative. Logits are the same in float32 and in double, and often equal.
struct ComparedRows {
  explicit ComparedRows(const RowLayout& layout, std::int64_t tokens)
      : rows(layout), vocabulary(tokens), head(random_steps(vocabulary * hidden, 4, 30)) {
    const std::int64_t size = rows.total * hidden;
    xs = {random_steps(size, 1, 31), random_steps(size, 1, 31), random_steps(size, 1, 32)};
    const auto noise = random_steps(size, 0.05f, 33);
    for (std::size_t i = 0; i < noise.size(); ++i) xs[1][i] += noise[i];
    for (std::int64_t r = 0; r < rows.total; ++r) {
      targets.push_back(static_cast<std::int32_t>(r % 7 == 3 ? -1 : r * 5 % vocabulary));
    }
  }

  Tensor upload(Backend& backend, const std::vector<float>& x) const {
    return backend.upload(x, rows.total, hidden);
  }
  Tensor upload_targets(Backend& backend) const {
    return backend.upload(std::span<const std::int32_t>(targets), rows.total, 1);
  }
  // Of rows [first, first + part.total) as a layout of their own; the reference is xs[0].
  std::vector<TokenComparison> compare(Backend& backend, const RowLayout& part,
                                       std::int64_t first) const {
    std::vector<Tensor> tensors;
    for (const auto& x : xs) tensors.push_back(upload(backend, x).row_range(first, part.total));
    return backend.compare_next_tokens(part, tensors[0], tensors,
                                       backend.upload(head, vocabulary, hidden),
                                       upload_targets(backend).row_range(first, part.total));
  }

  RowLayout rows;
  std::int64_t vocabulary;
  static constexpr std::int64_t hidden = 12;
  std::vector<float> head;
  std::vector<std::vector<float>> xs;
  std::vector<std::int32_t> targets;
};

RowLayout ragged_segments() {
  RowLayout rows;
  for (const std::int64_t count : {70, 0, 2, 600, 64}) rows.append(count, 0);
  return rows;
}

// Rows [first, first + count) of a comparison.
TokenComparison rows_of(const TokenComparison& all, std::int64_t first, std::int64_t count) {
  const auto cut = [&](const auto& values) {
    return std::decay_t<decltype(values)>(values.begin() + first, values.begin() + first + count);
  };
  return {cut(all.loss), cut(all.kl), cut(all.same_top)};
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

namespace {

void check_mlps(float limit) {
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
  backend.experts(rows, tx, routing, weights, out, limit);
  backend.gated_mlp(rows, tx, weights.gate_up[0], weights.down[0], out, limit);
  std::vector<float> expected;
  for (std::int64_t r = 0; r < rows.total; ++r) {
    std::vector<double> sum(x.begin() + r * hidden, x.begin() + (r + 1) * hidden);
    const auto add = [&](std::size_t e, double share) {
      const auto both = product(gate_up[e], x.data() + r * hidden, 2 * width, hidden);
      std::vector<float> middle;
      for (std::size_t i = 0; i < width; ++i) {
        const double gate = std::min(both[i], double{limit});
        const double up = std::clamp(both[width + i], -double{limit}, double{limit});
        middle.push_back(static_cast<float>(silu(gate) * up));
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

}  // namespace

TEST_CASE("the gated MLP and routed experts add to their output, clamped or not") {
  check_mlps(kNoLimit);
  check_mlps(0.75f);
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

TEST_CASE("what stands for the choices of other groups decides whether they can win") {
  CpuBackend backend;
  RowLayout rows;
  rows.append(1, 0);
  // Group 0 is kept; the choice of its second expert, 0.5 - 0.8, is below 0.
  const std::vector<float> logits = {4, 0, 1, 1, 1, 1};
  const std::vector<float> bias = {0, -0.8f, -0.55f, -0.55f, -0.55f, -0.55f};
  RouterRule rule{.groups = 3, .kept_groups = 1, .experts_used = 2, .normalize = false, .scale = 1};
  const auto chosen = [&] {
    const Routing routing =
        backend.route(rows, backend.upload(logits, 1, 6), backend.upload(bias, 1, 6), rule);
    return backend.download_indices(routing.experts);
  };
  CHECK(chosen() == std::vector<std::int32_t>{0, 1});
  rule.excluded = 0;
  CHECK(chosen() == std::vector<std::int32_t>{0, 2});
}

TEST_CASE("a gate multiplies heads by the sigmoid of other heads, or of themselves") {
  CpuBackend backend;
  const RowLayout rows = two_segments();
  const std::int64_t heads = 3, width = 5, gate_stride = 11;
  const auto x = random_floats(static_cast<std::size_t>(rows.total * heads * width), 21);
  auto g = random_floats(static_cast<std::size_t>(rows.total * heads * gate_stride), 22);
  for (float& value : g) value *= 30;  // saturated ones, too
  const Tensor values = backend.upload(x, rows.total, heads * width);
  const Tensor gates = backend.upload(g, rows.total, heads * gate_stride);
  const Heads gate_heads{gates.columns(4, gates.cols() - 4), heads, gate_stride, width};
  backend.sigmoid_gate(rows, gate_heads, {values, heads, width, width});
  const Tensor own = backend.upload(x, rows.total, heads * width);
  backend.sigmoid_gate(rows, one_head(own), one_head(own));
  std::vector<float> expected, expected_silu;
  for (std::int64_t i = 0; i < rows.total * heads * width; ++i) {
    const double value = x[static_cast<std::size_t>(i)];
    const auto at = static_cast<std::size_t>(i / width * gate_stride + 4 + i % width);
    expected.push_back(static_cast<float>(value / (1 + std::exp(-double{g[at]}))));
    expected_silu.push_back(static_cast<float>(silu(value)));
  }
  CHECK_CLOSE(backend.download(values), expected, 1e-6);
  CHECK_CLOSE(backend.download(own), expected_silu, 1e-6);
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

TEST_CASE("next-token distributions are compared with a reference's, row by row") {
  CpuBackend backend;
  for (const std::int64_t vocabulary : {2, 33, 3001}) {
    const ComparedRows in(ragged_segments(), vocabulary);
    const auto results = in.compare(backend, in.rows, 0);
    REQUIRE(results.size() == in.xs.size());
    for (std::size_t i = 0; i < in.xs.size(); ++i) {
      INFO("vocabulary " << vocabulary << ", tensor " << i);
      TokenComparison expected;
      double worst = 0;  // |KL - expected|
      for (std::int64_t r = 0; r < in.rows.total; ++r) {
        const auto row = static_cast<std::size_t>(r);
        expected.loss.push_back(0), expected.kl.push_back(0), expected.same_top.push_back(0);
        if (in.targets[row] >= 0) {
          const auto width = ComparedRows::hidden;
          const auto logits = [&](std::size_t x) {
            return product(in.head, in.xs[x].data() + r * width, vocabulary, width);
          };
          const auto p = log_probabilities(logits(0)), q = log_probabilities(logits(i));
          expected.loss[row] = -q[static_cast<std::size_t>(in.targets[row])];
          for (std::size_t v = 0; v < p.size(); ++v) {
            expected.kl[row] += std::exp(p[v]) * (p[v] - q[v]);
          }
          const auto top = [](const auto& of) { return std::ranges::max_element(of) - of.begin(); };
          expected.same_top[row] = top(p) == top(q) ? 1 : 0;
        }
        worst = std::max(worst, std::abs(results[i].kl[row] - expected.kl[row]));
      }
      CHECK_CLOSE(results[i].loss, expected.loss, 1e-6);
      CHECK(worst < 1e-6);
      CHECK(results[i].same_top == expected.same_top);
      CHECK(std::ranges::min(results[i].kl) == 0);
    }
    CHECK(std::ranges::max(results[0].kl) == 0);  // of the reference itself
    CHECK(std::ranges::max(results[1].kl) > 0);
    CHECK(results[2].same_top != results[0].same_top);
  }
}

TEST_CASE("of equally likely tokens the lowest is compared with the reference's") {
  CpuBackend backend;
  // Row r of the input chooses column r of the head, whose highest logits are given here.
  const std::vector<std::vector<std::size_t>> highest = {
      {3, 20, 32}, {3}, {20, 32}, {2, 3}, {3, 4}};
  const std::size_t columns = highest.size(), vocabulary = 33;
  std::vector<float> head(vocabulary * columns, -1.0f), x(columns * columns, 0.0f);
  for (std::size_t r = 0; r < columns; ++r) {
    x[r * columns + r] = 1;
    for (const std::size_t token : highest[r]) head[token * columns + r] = 2;
  }
  const auto count = static_cast<std::int64_t>(columns);
  std::vector<float> first_column(columns * columns, 0.0f);
  for (std::size_t r = 0; r < columns; ++r) first_column[r * columns] = 1;
  RowLayout rows;
  rows.append(count, 0);
  const std::vector<Tensor> xs = {backend.upload(x, count, count)};
  const auto results = backend.compare_next_tokens(
      rows, backend.upload(first_column, count, count), xs, backend.upload(head, 33, count),
      backend.upload(std::span<const std::int32_t>(std::vector<std::int32_t>(columns, 0)), count,
                     1));
  CHECK(results[0].same_top == std::vector<std::uint8_t>{1, 1, 0, 0, 1});
}

TEST_CASE("a compared row has the same bits in any batch, and the loss that is summed") {
  CpuBackend backend;
  const ComparedRows in(ragged_segments(), 129);
  const auto whole = in.compare(backend, in.rows, 0);
  for (const Segment& segment : in.rows.segments) {
    RowLayout part;
    part.append(segment.rows, 0);
    const auto some = in.compare(backend, part, segment.first_row);
    for (std::size_t i = 0; i < some.size(); ++i) {
      CHECK(some[i] == rows_of(whole[i], segment.first_row, segment.rows));
    }
  }
  for (const RowChunk& chunk : row_chunks(in.rows, kChunkGrain)) {
    const auto some = in.compare(backend, chunk.rows, chunk.first_row);
    CHECK(some[2] == rows_of(whole[2], chunk.first_row, chunk.rows.total));
  }
  const Tensor head = backend.upload(in.head, in.vocabulary, ComparedRows::hidden);
  for (std::size_t i = 0; i < in.xs.size(); ++i) {
    const auto sums = backend.next_token_loss(in.rows, in.upload(backend, in.xs[i]), head,
                                              in.upload_targets(backend));
    for (std::size_t s = 0; s < sums.size(); ++s) {
      const Segment& segment = in.rows.segments[s];
      double sum = 0;
      for (double loss : rows_of(whole[i], segment.first_row, segment.rows).loss) sum += loss;
      CHECK(sum == sums[s]);
    }
  }
  const std::vector<Tensor> nothing;
  CHECK(backend
            .compare_next_tokens(in.rows, in.upload(backend, in.xs[0]), nothing, head,
                                 in.upload_targets(backend))
            .empty());
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

TEST_CASE("the largest chunk of rows need not be the first") {
  RowLayout rows;
  for (int s = 0; s < 16; ++s) rows.append(5952, 2048);  // sequences of 8,000 beyond 2,048
  const std::vector<RowChunk> chunks = row_chunks(rows, 33'554);
  REQUIRE(chunks.size() > 1);
  CHECK(largest_rows(chunks) > chunks.front().rows.total);
  for (const RowChunk& chunk : chunks) {
    CHECK(chunk.rows.total <= largest_rows(chunks));
    CHECK(chunk.rows.total <= 33'554);
  }
  CHECK(largest_rows({}) == 0);
}
