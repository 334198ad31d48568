// SPDX-License-Identifier: Apache-2.0
// Backward of a matrix product and of LayerNorm, for any number type (see distillation.h).
#pragma once

#include "backend/cpu/arithmetic/numbers.h"
#include "backend/cpu/tiles.h"

#include <cmath>
#include <cstdint>

namespace indexcache::cpu {

// Rows of a gradient that one thread adds up.
inline constexpr std::int64_t kGradientRows = 64;

template <typename Real>
void add_linear_gradient(int threads, const RowLayout& rows, const Tensor& x, const Tensor& d_out,
                         const Tensor& gradient) {
  RowLayout outputs;
  outputs.append(gradient.rows(), 0);
  for_each_tile(threads, outputs, kGradientRows, [&](const Tile& tile) {
    const auto of_tile = view<Real>(d_out.columns(tile.first_row, tile.rows), 0, rows.total);
    view<Real>(gradient, tile.first_row, tile.rows).noalias() +=
        of_tile.transpose() * view<Real>(x, 0, rows.total);
  });
}

// One row: d_out becomes the gradient of x; adds to d_weight and d_bias.
template <typename Real>
void layer_norm_row_backward(const Real* x, const Real* weight, Real eps, std::int64_t n,
                             Real* d_out, Real* d_weight, Real* d_bias) {
  const Real mean = sum_of(x, n) / static_cast<Real>(n);
  const Real variance =
      interleaved_sum<Real>(n, [&](std::int64_t i) { return (x[i] - mean) * (x[i] - mean); }) /
      static_cast<Real>(n);
  const Real factor = Real(1) / std::sqrt(variance + eps);
  const auto normalized = [&](std::int64_t i) { return (x[i] - mean) * factor; };
  for (std::int64_t i = 0; i < n; ++i) {
    d_weight[i] += d_out[i] * normalized(i);
    d_bias[i] += d_out[i];
    d_out[i] *= weight[i];
  }
  const Real mean_gradient = sum_of(d_out, n) / static_cast<Real>(n);
  const Real projection =
      interleaved_sum<Real>(n, [&](std::int64_t i) { return d_out[i] * normalized(i); }) /
      static_cast<Real>(n);
  for (std::int64_t i = 0; i < n; ++i) {
    d_out[i] = factor * (d_out[i] - mean_gradient - normalized(i) * projection);
  }
}

// Rows in ascending order on one thread: a LayerNorm of the indexer is only as wide as a head.
template <typename Real>
void layer_norm_gradients(const RowLayout& rows, const Tensor& x, const Tensor& weight, Real eps,
                          const Tensor& d_out, const Tensor& d_weight, const Tensor& d_bias) {
  for (std::int64_t row = 0; row < rows.total; ++row) {
    layer_norm_row_backward<Real>(at<Real>(x, row), at<Real>(weight, 0), eps, x.cols(),
                                  at<Real>(d_out, row), at<Real>(d_weight, 0), at<Real>(d_bias, 0));
  }
}

}  // namespace indexcache::cpu
