// SPDX-License-Identifier: Apache-2.0
// Operations that train an indexer: the distribution it shall imitate, the gradients of its
// parameters, and the optimizer.
#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/arithmetic/distillation.h"
#include "backend/cpu/arithmetic/row_backward.h"

#include <algorithm>
#include <cmath>

namespace indexcache::cpu {
namespace {

constexpr std::int64_t kElements = 1 << 14;  // of a flat tensor that one thread takes at once

struct HeadScores;
struct SelectedKeys;

// One row of `elements` numbers, for loops over tiles of them.
RowLayout flat(std::int64_t elements) {
  RowLayout layout;
  layout.append(elements, 0);
  return layout;
}

// sums[i] += factor * softmax(scale * scores)[i]
void add_softmax(float* scores, std::int64_t count, float scale, float factor, float* sums) {
  if (count == 0) return;
  ArrayOf<float> row(scores, count);
  row *= scale;
  row = (row - largest(scores, count)).exp();
  ArrayOf<float>(sums, count) += row * (factor / sum_of(scores, count));
}

// What mean_attention multiplies: `count` keys for the heads of one query, or of a tile of them.
struct Attention {
  const Heads& queries;
  float scale;
  float head_weight;

  ViewOf<float> head(std::int64_t head, std::int64_t first_row, std::int64_t rows) const {
    return view<float>(queries.tensor.columns(head * queries.stride, queries.width), first_row,
                       rows);
  }
};

void add_dense(const Attention& attention, const Tile& tile, const Segment& key_segment,
               const Tensor& all_keys, const Tensor& sums) {
  const auto keys =
      view<float>(all_keys, key_segment.first_row, key_segment.candidates(tile.last_position()));
  for (std::int64_t head = 0; head < attention.queries.count; ++head) {
    auto scores = scratch_of<float, HeadScores>(tile.rows, keys.rows());
    scores.noalias() = attention.head(head, tile.first_row, tile.rows) * keys.transpose();
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      add_softmax(scores.data() + i * keys.rows(), key_segment.candidates(tile.position(i)),
                  attention.scale, attention.head_weight, at<float>(sums, tile.first_row + i));
    }
  }
}

void add_sparse(const Attention& attention, std::int64_t row, const Tensor& keys,
                std::int64_t first_key, const Tensor& sets, const Tensor& sums) {
  const std::int64_t k = sets.cols();
  const auto* set = at<std::int32_t>(sets, row);
  auto selected = scratch_of<float, SelectedKeys>(k, keys.cols());
  for (std::int64_t i = 0; i < k; ++i) {
    std::copy_n(at<float>(keys, first_key + set[i]), keys.cols(),
                selected.data() + i * keys.cols());
  }
  for (std::int64_t head = 0; head < attention.queries.count; ++head) {
    auto scores = scratch_of<float, HeadScores>(1, k);
    scores.noalias() = attention.head(head, row, 1) * selected.transpose();
    add_softmax(scores.data(), k, attention.scale, attention.head_weight, at<float>(sums, row));
  }
}

}  // namespace

void mean_attention(int threads, const RowLayout& rows, const Heads& queries,
                    const RowLayout& key_rows, const Tensor& keys, const Tensor& sets, float scale,
                    float weight, const Tensor& sums) {
  const Attention attention{queries, scale, weight / static_cast<float>(queries.count)};
  for_each_tile(threads, rows, kDistillQueries, [&](const Tile& tile) {
    const Segment& key_segment = key_rows.segments[tile.segment];
    if (sets.empty()) return add_dense(attention, tile, key_segment, keys, sums);
    for (std::int64_t row = tile.first_row; row < tile.first_row + tile.rows; ++row) {
      add_sparse(attention, row, keys, key_segment.first_row, sets, sums);
    }
  });
}

void distill_indexer(int threads, const RowLayout& rows, const IndexScores& scores,
                     const RowLayout& key_rows, const Tensor& sets, const IndexTarget& target,
                     float row_weight, const IndexGradients& gradients, const Tensor& divergences,
                     const Tensor& d_scores) {
  distill<float>(threads, {rows, scores, key_rows, sets, target, row_weight, gradients, divergences,
                           d_scores});
}

void linear_backward(int threads, const RowLayout& rows, const Tensor& x, const Tensor& d_out,
                     const Tensor& gradient) {
  add_linear_gradient<float>(threads, rows, x, d_out, gradient);
}

void layer_norm_backward(const RowLayout& rows, const Tensor& x, const Tensor& weight, float eps,
                         const Tensor& d_out, const Tensor& d_weight, const Tensor& d_bias) {
  layer_norm_gradients<float>(rows, x, weight, eps, d_out, d_weight, d_bias);
}

void add(int threads, const Tensor& x, const Tensor& out) {
  for_each_tile(threads, flat(x.rows()), 64, [&](const Tile& tile) {
    view<float>(out, tile.first_row, tile.rows) += view<float>(x, tile.first_row, tile.rows);
  });
}

std::vector<double> squared_norms(int threads, const Tensor& x) {
  std::vector<double> norms(static_cast<std::size_t>(x.rows()));
  for_each_tile(threads, flat(x.rows()), 1, [&](const Tile& tile) {
    const float* row = at<float>(x, tile.first_row);
    norms[static_cast<std::size_t>(tile.first_row)] = interleaved_sum<double>(
        x.cols(), [row](std::int64_t i) { return double{row[i]} * double{row[i]}; });
  });
  return norms;
}

void adam(int threads, const AdamStep& step, const Tensor& gradients, const Tensor& mean,
          const Tensor& variance, const Tensor& parameters) {
  const float mean_bias = 1 - std::pow(step.beta1, static_cast<float>(step.step));
  const float variance_bias = 1 - std::pow(step.beta2, static_cast<float>(step.step));
  for (std::int64_t row = 0; row < parameters.rows(); ++row) {
    const float scale = step.scales[static_cast<std::size_t>(row)];
    for_each_tile(threads, flat(parameters.cols()), kElements, [&](const Tile& tile) {
      const auto of = [&](const Tensor& tensor) {
        return ArrayOf<float>(at<float>(tensor, row) + tile.first_row, tile.rows);
      };
      auto m = of(mean), v = of(variance), p = of(parameters);
      const auto g = of(gradients) * scale;
      m = step.beta1 * m + (1 - step.beta1) * g;
      v = step.beta2 * v + (1 - step.beta2) * g.square();
      p -= step.rate * (m / mean_bias) / ((v / variance_bias).sqrt() + step.epsilon);
    });
  }
}

}  // namespace indexcache::cpu
