// SPDX-License-Identifier: Apache-2.0
// Distillation of an indexer: KL divergence from a target to the softmax of its scores, and the
// gradients of that. Templates over the number type, so that a test can compare them with central
// differences in double; the program computes in float.
//
// Products are recomputed where they are needed: what is kept between the passes is one number per
// query and candidate of the call, the gradient of a score.
#pragma once

#include "backend/cpu/arithmetic/numbers.h"
#include "backend/cpu/tiles.h"
#include "backend/training.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace indexcache::cpu {

inline constexpr std::int64_t kDistillQueries = 32;
inline constexpr std::int64_t kDistillKeys = 256;

// scores[u] = sum_h weights[h] * max(products[h][u], 0), heads in ascending order.
template <typename Real>
void combine_heads(const ViewOf<Real>& products, std::int64_t first_row, const Real* weights,
                   std::int64_t heads, Real* scores) {
  std::fill(scores, scores + products.cols(), Real(0));
  for (std::int64_t head = 0; head < heads; ++head) {
    const Real* row = products.data() + (first_row + head) * products.outerStride();
    const Real weight = weights[head];
    for (std::int64_t u = 0; u < products.cols(); ++u) {
      scores[u] += weight * std::max(row[u], Real(0));
    }
  }
}

// Products of one query become gradients of the loss with respect to them; adds to d_weights,
// unless it is null.
template <typename Real>
void product_gradients(ViewOf<Real>& products, std::int64_t first_row, const Real* weights,
                       std::int64_t heads, const Real* d_scores, Real* d_weights) {
  const std::int64_t count = products.cols();
  for (std::int64_t head = 0; head < heads; ++head) {
    Real* row = products.data() + (first_row + head) * products.outerStride();
    if (d_weights != nullptr) d_weights[head] += rectified_dot(row, d_scores, count);
    const Real weight = weights[head];
    for (std::int64_t u = 0; u < count; ++u) {
      row[u] = row[u] > Real(0) ? weight * d_scores[u] : Real(0);
    }
  }
}

// Returns KL(p || q) of one query, p = target_scale * sums and q = softmax(scale * scores), and
// replaces the scores by the gradient of row_weight * KL: row_weight * scale * (q - p).
template <typename Real>
Real divergence(Real* scores, const Real* sums, std::int64_t count, Real scale, Real target_scale,
                Real row_weight) {
  ArrayOf<Real> row(scores, count);
  const Eigen::Map<const Eigen::Array<Real, Eigen::Dynamic, 1>> target(sums, count);
  row *= scale;
  row -= largest(scores, count);
  auto memory = scratch_of<Real, struct Probabilities>(2, count);
  ArrayOf<Real> q(memory.data(), count), terms(memory.data() + count, count);
  q = row.exp();
  const Real total = sum_of(q.data(), count);
  row -= std::log(total);                                    // now log q
  constexpr Real kLeast = std::numeric_limits<Real>::min();  // where p = 0 the term is 0
  terms = target_scale * target * ((target_scale * target).max(kLeast).log() - row);
  row = (row_weight * scale) * (q / total - target_scale * target);
  return sum_of(terms.data(), count);
}

// The operands of one call, and where the gradients of scores are kept: [rows, candidates].
template <typename Real>
struct Distillation {
  const RowLayout& rows;
  const IndexScores& scores;
  const RowLayout& key_rows;
  const Tensor& sets;
  const IndexTarget& target;
  Real row_weight;
  const IndexGradients& out;
  const Tensor& divergences;
  const Tensor& d_scores;

  std::int64_t heads() const { return scores.head_weights.cols(); }
  std::int64_t width() const { return scores.keys.cols(); }

  // The heads of some queries, one after another: [rows * heads, width].
  ViewOf<Real> heads_of(const Tensor& tensor, std::int64_t first, std::int64_t count) const {
    return {at<Real>(tensor, first), count * heads(), width(), Eigen::OuterStride<>(width())};
  }
  const Real* weights_of(std::int64_t row) const { return at<Real>(scores.head_weights, row); }

  // A row without candidates does not diverge.
  void diverge(std::int64_t row, std::int64_t candidates) const {
    Real* of_row = at<Real>(d_scores, row);
    *at<Real>(divergences, row) =
        candidates == 0 ? Real(0)
                        : divergence<Real>(of_row, at<Real>(target.sums, row), candidates,
                                           Real(scores.scale), Real(target.scale), row_weight);
  }
};

// Calls body(first, count) for blocks of keys below `end`.
template <typename Body>
void for_each_key_block(std::int64_t end, const Body& body) {
  for (std::int64_t u = 0; u < end; u += kDistillKeys) body(u, std::min(kDistillKeys, end - u));
}

// Scores, divergences and the gradients of one tile of queries, against all of their candidates.
template <typename Real>
void distill_dense_queries(const Distillation<Real>& d, const Tile& tile) {
  const Segment& key_segment = d.key_rows.segments[tile.segment];
  const std::int64_t end = key_segment.candidates(tile.last_position()), heads = d.heads();
  const std::int64_t first_key = key_segment.first_row;
  const auto queries = d.heads_of(d.scores.queries, tile.first_row, tile.rows);
  auto d_queries = d.heads_of(d.out.queries, tile.first_row, tile.rows);
  const auto multiply = [&](std::int64_t u, std::int64_t count) {
    auto products = scratch_of<Real, struct Products>(tile.rows * heads, count);
    products.noalias() = queries * view<Real>(d.scores.keys, first_key + u, count).transpose();
    return products;
  };
  for_each_key_block(end, [&](std::int64_t u, std::int64_t count) {
    const auto products = multiply(u, count);
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      combine_heads<Real>(products, i * heads, d.weights_of(tile.first_row + i), heads,
                          at<Real>(d.d_scores, tile.first_row + i) + u);
    }
  });
  for (std::int64_t i = 0; i < tile.rows; ++i) {
    const std::int64_t row = tile.first_row + i;
    const std::int64_t candidates = key_segment.candidates(tile.position(i));
    d.diverge(row, candidates);
    Real* d_scores = at<Real>(d.d_scores, row);
    std::fill(d_scores + candidates, d_scores + end, Real(0));
    std::fill_n(at<Real>(d.out.head_weights, row), heads, Real(0));
  }
  d_queries.setZero();
  for_each_key_block(end, [&](std::int64_t u, std::int64_t count) {
    auto products = multiply(u, count);
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      const std::int64_t row = tile.first_row + i;
      product_gradients<Real>(products, i * heads, d.weights_of(row), heads,
                              at<Real>(d.d_scores, row) + u, at<Real>(d.out.head_weights, row));
    }
    d_queries.noalias() += products * view<Real>(d.scores.keys, first_key + u, count);
  });
}

// Adds the gradients of one tile of keys, over all queries of its segment in ascending order.
template <typename Real>
void distill_dense_keys(const Distillation<Real>& d, const Tile& keys) {
  const std::int64_t heads = d.heads();
  const Segment& key_segment = d.key_rows.segments[keys.segment];
  const std::int64_t first_candidate = keys.first_row - key_segment.first_row;
  auto d_keys = view<Real>(d.out.keys, keys.first_row, keys.rows);
  RowLayout queries;
  queries.segments.push_back(d.rows.segments[keys.segment]);
  for (const Tile& tile : tiles_of(queries, kDistillQueries)) {
    const std::int64_t end = key_segment.candidates(tile.last_position());
    const std::int64_t count = std::min(keys.rows, end - first_candidate);
    if (count <= 0) continue;
    const auto q = d.heads_of(d.scores.queries, tile.first_row, tile.rows);
    auto products = scratch_of<Real, struct Products>(tile.rows * heads, count);
    products.noalias() = q * view<Real>(d.scores.keys, keys.first_row, count).transpose();
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      const std::int64_t row = tile.first_row + i;
      product_gradients<Real>(products, i * heads, d.weights_of(row), heads,
                              at<Real>(d.d_scores, row) + first_candidate, nullptr);
    }
    d_keys.topRows(count).noalias() += products.transpose() * q;
  }
}

// The keys of some candidates of a query, one after another.
template <typename Real>
ViewOf<Real> gather_keys(const Distillation<Real>& d, std::int64_t first_key,
                         const std::int32_t* set, std::int64_t count) {
  auto keys = scratch_of<Real, struct Gathered>(count, d.width());
  for (std::int64_t i = 0; i < count; ++i) {
    std::copy_n(at<Real>(d.scores.keys, first_key + set[i]), d.width(),
                keys.data() + i * d.width());
  }
  return keys;
}

template <typename Real>
void distill_sparse_queries(const Distillation<Real>& d, const Tile& tile) {
  const std::int64_t heads = d.heads(), k = d.sets.cols();
  const std::int64_t first_key = d.key_rows.segments[tile.segment].first_row;
  for (std::int64_t row = tile.first_row; row < tile.first_row + tile.rows; ++row) {
    const auto keys = gather_keys(d, first_key, at<std::int32_t>(d.sets, row), k);
    auto products = scratch_of<Real, struct Products>(heads, k);
    products.noalias() = d.heads_of(d.scores.queries, row, 1) * keys.transpose();
    Real* d_scores = at<Real>(d.d_scores, row);
    Real* d_weights = at<Real>(d.out.head_weights, row);
    combine_heads<Real>(products, 0, d.weights_of(row), heads, d_scores);
    d.diverge(row, k);
    std::fill_n(d_weights, heads, Real(0));
    product_gradients<Real>(products, 0, d.weights_of(row), heads, d_scores, d_weights);
    d.heads_of(d.out.queries, row, 1).noalias() = products * keys;
  }
}

template <typename Real>
void distill_sparse_keys(const Distillation<Real>& d, const Tile& keys) {
  const std::int64_t heads = d.heads();
  const std::int64_t first_key = d.key_rows.segments[keys.segment].first_row;
  const Segment& queries = d.rows.segments[keys.segment];
  for (std::int64_t row = queries.first_row; row < queries.first_row + queries.rows; ++row) {
    const auto* set = at<std::int32_t>(d.sets, row);
    const auto* end = set + d.sets.cols();
    const auto* begin = std::lower_bound(set, end, keys.first_row - first_key);
    end = std::lower_bound(begin, end, keys.first_row - first_key + keys.rows);
    const std::int64_t count = end - begin;
    if (count == 0) continue;
    const auto gathered = gather_keys(d, first_key, begin, count);
    const auto q = d.heads_of(d.scores.queries, row, 1);
    auto products = scratch_of<Real, struct Products>(heads, count);
    products.noalias() = q * gathered.transpose();
    product_gradients<Real>(products, 0, d.weights_of(row), heads,
                            at<Real>(d.d_scores, row) + (begin - set), nullptr);
    auto d_gathered = scratch_of<Real, struct GatheredGradients>(count, d.width());
    d_gathered.noalias() = products.transpose() * q;
    for (std::int64_t i = 0; i < count; ++i) {
      view<Real>(d.out.keys, first_key + begin[i], 1) += d_gathered.row(i);
    }
  }
}

// The keys that any query of the call sees.
inline RowLayout visible_keys(const RowLayout& rows, const RowLayout& key_rows) {
  RowLayout visible = key_rows;
  for (std::size_t s = 0; s < visible.segments.size(); ++s) {
    const Segment& queries = rows.segments[s];
    Segment& keys = visible.segments[s];
    keys.rows = queries.rows == 0 ? 0 : keys.candidates(queries.last_position());
  }
  return visible;
}

// Backend::distill_indexer. Queries and keys are two passes, each with its own parallel loop: a
// key's gradient is a sum over queries, and one thread adds it up in their order.
template <typename Real>
void distill(int threads, const Distillation<Real>& d) {
  const bool dense = d.sets.empty();
  for_each_tile(threads, d.rows, kDistillQueries, [&](const Tile& tile) {
    dense ? distill_dense_queries(d, tile) : distill_sparse_queries(d, tile);
  });
  for_each_tile(threads, visible_keys(d.rows, d.key_rows), kDistillKeys, [&](const Tile& tile) {
    dense ? distill_dense_keys(d, tile) : distill_sparse_keys(d, tile);
  });
}

}  // namespace indexcache::cpu
