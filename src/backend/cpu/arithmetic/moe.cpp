// SPDX-License-Identifier: Apache-2.0
// noaux_tc routing and the routed experts.
#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/arithmetic/matrix.h"
#include "backend/cpu/arithmetic/product.h"
#include "backend/cpu/arithmetic/simd.h"
#include "backend/cpu/tiles.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace indexcache::cpu {

namespace {

constexpr std::int64_t kTokenRows = 256;

struct ExpertInput;
struct ExpertHidden;
struct ExpertOutput;

// Indices of the `count` largest values, the lower index first among equals, then ascending.
std::vector<std::int32_t> largest(const std::vector<float>& values, std::int64_t count) {
  std::vector<std::int32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  const auto middle = order.begin() + count;
  std::ranges::partial_sort(order, middle, [&](std::int32_t a, std::int32_t b) {
    const float va = values[static_cast<std::size_t>(a)];
    const float vb = values[static_cast<std::size_t>(b)];
    return va != vb ? va > vb : a < b;
  });
  order.resize(static_cast<std::size_t>(count));
  std::ranges::sort(order);
  return order;
}

// Group limit: the score of a group is the sum of its two largest choices; choices of groups that
// are not among the best become rule.excluded.
void limit_groups(std::vector<float>& choices, const RouterRule& rule) {
  const std::int64_t size = static_cast<std::int64_t>(choices.size()) / rule.groups;
  std::vector<float> group_scores;
  for (std::int64_t group = 0; group < rule.groups; ++group) {
    std::vector<float> members(choices.begin() + group * size,
                               choices.begin() + (group + 1) * size);
    std::ranges::partial_sort(members, members.begin() + 2, std::greater<>());
    group_scores.push_back(members[0] + members[1]);
  }
  const auto kept = largest(group_scores, rule.kept_groups);
  for (std::int64_t group = 0; group < rule.groups; ++group) {
    if (std::ranges::binary_search(kept, static_cast<std::int32_t>(group))) continue;
    std::fill_n(choices.begin() + group * size, size, rule.excluded);
  }
}

float score_of(float logit, RouterScore score) {
  if (score == RouterScore::sigmoid) return 1.0f / (1.0f + std::exp(-logit));
  constexpr float kLinear = 20;  // from there on ln(1 + e^x) is x in float32
  return std::sqrt(logit > kLinear ? logit : std::log1p(std::exp(logit)));
}

// Weights of the chosen experts, from their scores.
void weigh(const float* scores, const RouterRule& rule, float* weights, std::int64_t count) {
  float total = 1e-20f;
  for (std::int64_t p = 0; p < count; ++p) total += scores[p];
  const float factor = rule.normalize ? rule.scale / total : rule.scale;
  for (std::int64_t p = 0; p < count; ++p) weights[p] = scores[p] * factor;
}

void route_row(const float* logits, const Tensor& bias, const RouterRule& rule,
               std::int32_t* experts, float* weights) {
  const auto count = static_cast<std::size_t>(bias.cols());
  std::vector<float> probabilities(count);
  std::vector<float> choices(count);
  for (std::size_t e = 0; e < count; ++e) {
    probabilities[e] = score_of(logits[e], rule.score);
    choices[e] = probabilities[e] + bias.data<float>()[e];
  }
  if (rule.groups > 1) limit_groups(choices, rule);
  const auto chosen = largest(choices, rule.experts_used);
  for (std::size_t p = 0; p < chosen.size(); ++p) {
    experts[p] = chosen[p];
    weights[p] = probabilities[static_cast<std::size_t>(chosen[p])];
  }
  weigh(weights, rule, weights, rule.experts_used);
}

struct Visit {
  std::int64_t row;
  float weight;
};

// The rows of a tile that use each expert, in ascending order.
std::vector<std::vector<Visit>> visits_by_expert(const Tile& tile, const Routing& routing,
                                                 std::size_t experts) {
  std::vector<std::vector<Visit>> visits(experts);
  for (std::int64_t row = tile.first_row; row < tile.first_row + tile.rows; ++row) {
    const std::int64_t used = routing.experts.cols();
    for (std::int64_t p = 0; p < used; ++p) {
      const auto e = static_cast<std::size_t>(routing.experts.data<std::int32_t>()[row * used + p]);
      visits[e].push_back({row, routing.weights.data<float>()[row * used + p]});
    }
  }
  return visits;
}

// out[row] += weight * MLP(x[row]) for the rows of one expert.
void run_expert(const std::vector<Visit>& visits, const Tensor& x, const Tensor& gate_up,
                const Tensor& down, const Tensor& out, float limit) {
  const auto count = static_cast<std::int64_t>(visits.size());
  auto input = scratch<ExpertInput>(count, x.cols());
  for (std::int64_t i = 0; i < count; ++i) {
    std::copy_n(row_of(x, visits[static_cast<std::size_t>(i)].row), x.cols(), &input(i, 0));
  }
  auto hidden = scratch<ExpertHidden>(count, gate_up.rows());
  product(input, gate_up, Store::assign, hidden);
  swiglu(hidden, limit);
  auto result = scratch<ExpertOutput>(count, down.rows());
  product(left_half(hidden), down, Store::assign, result);
  for (std::int64_t i = 0; i < count; ++i) {
    const Visit& visit = visits[static_cast<std::size_t>(i)];
    float* target = row_of(out, visit.row);
    for (std::int64_t c = 0; c < down.rows(); ++c) target[c] += visit.weight * result(i, c);
  }
}

}  // namespace

void route(int threads, const RowLayout& rows, const Tensor& logits, const Tensor& bias,
           const RouterRule& rule, const Routing& routing) {
  for_each_tile(threads, rows, kTokenRows, [&](const Tile& tile) {
    for (std::int64_t row = tile.first_row; row < tile.first_row + tile.rows; ++row) {
      route_row(row_of(logits, row), bias, rule,
                routing.experts.data<std::int32_t>() + row * rule.experts_used,
                routing.weights.data<float>() + row * rule.experts_used);
    }
  });
}

void weigh_experts(int threads, const RowLayout& rows, const Tensor& logits, const RouterRule& rule,
                   const Routing& routing) {
  const std::int64_t used = routing.experts.cols();
  for_each_tile(threads, rows, kTokenRows, [&](const Tile& tile) {
    for (std::int64_t row = tile.first_row; row < tile.first_row + tile.rows; ++row) {
      const auto* chosen = routing.experts.data<std::int32_t>() + row * used;
      float* weights = routing.weights.data<float>() + row * used;
      for (std::int64_t p = 0; p < used; ++p) {
        weights[p] = score_of(row_of(logits, row)[chosen[p]], rule.score);
      }
      weigh(weights, rule, weights, used);
    }
  });
}

void experts(int threads, const RowLayout& rows, const Tensor& x, const Routing& routing,
             const ExpertWeights& weights, const Tensor& out, float limit) {
  for_each_tile(threads, rows, kTokenRows, [&](const Tile& tile) {
    const auto visits = visits_by_expert(tile, routing, weights.down.size());
    for (std::size_t e = 0; e < visits.size(); ++e) {
      if (visits[e].empty()) continue;
      run_expert(visits[e], x, weights.gate_up[e], weights.down[e], out, limit);
    }
  });
}

}  // namespace indexcache::cpu
