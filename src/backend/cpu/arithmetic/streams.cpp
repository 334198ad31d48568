// SPDX-License-Identifier: Apache-2.0
// Residual streams: what a sublayer reads of them, and how its result is added to them.
#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/arithmetic/matrix.h"
#include "backend/cpu/arithmetic/product.h"
#include "backend/cpu/arithmetic/simd.h"
#include "backend/cpu/tiles.h"

#include <algorithm>
#include <cmath>

namespace indexcache::cpu {
namespace {

constexpr std::int64_t kStreamRows = 128;

struct Mixed;
struct Before;

// sigmoid(scale * m + base) of one coefficient; `m` is its product with the row before the norm.
struct Coefficients {
  const float* products;
  float norm;  // 1 / sqrt(mean(x^2) + norm_eps)
  const StreamWeights& weights;

  float logit(std::int64_t i, std::int64_t part) const {
    const float scale = weights.scale.data<float>()[part];
    return scale * (products[i] * norm) + weights.base.data<float>()[i];
  }
  float at(std::int64_t i, std::int64_t part) const {
    return 1.0f / (1.0f + std::exp(-logit(i, part)));
  }
};

// out = sum_k shares_k x_k, the streams in order.
void mix(const float* streams, const Coefficients& coefficients, const StreamRule& rule,
         std::int64_t width, float* out) {
  for (std::int64_t k = 0; k < rule.count; ++k) {
    const float share = coefficients.at(k, 0) + rule.eps;
    const float* x = streams + k * width;
    for (std::int64_t i = 0; i < width; ++i) out[i] = k == 0 ? share * x[i] : out[i] + share * x[i];
  }
}

// Divides the n numbers from `first` on, `step` apart, by their sum and eps.
void normalize(float* first, std::int64_t n, std::int64_t step, float eps) {
  float total = 0;
  for (std::int64_t i = 0; i < n; ++i) total += first[i * step];
  for (std::int64_t i = 0; i < n; ++i) first[i * step] /= total + eps;
}

// The mixing matrix [n, n]: Sinkhorn's iterations make the sums of its rows and columns nearly 1.
void write_mixing(const Coefficients& coefficients, const StreamRule& rule, float* matrix) {
  const std::int64_t n = rule.count;
  for (std::int64_t j = 0; j < n; ++j) {
    float* row = matrix + j * n;
    for (std::int64_t k = 0; k < n; ++k) row[k] = coefficients.logit((2 + j) * n + k, 2);
    const float peak = *std::max_element(row, row + n);
    for (std::int64_t k = 0; k < n; ++k) row[k] = std::exp(row[k] - peak);
    normalize(row, n, 1, 0.0f);
    for (std::int64_t k = 0; k < n; ++k) row[k] += rule.eps;
  }
  for (int round = 0; round < rule.mixing_rounds; ++round) {
    for (std::int64_t j = 0; round > 0 && j < n; ++j) normalize(matrix + j * n, n, 1, rule.eps);
    for (std::int64_t k = 0; k < n; ++k) normalize(matrix + k, n, n, rule.eps);
  }
}

// Replaces stream k by sum_j matrix[j, k] stream j.
void mix_streams(const float* matrix, std::int64_t n, std::int64_t width, float* streams) {
  auto before = scratch<Before>(n, width);
  std::copy_n(streams, n * width, before.data());
  for (std::int64_t k = 0; k < n; ++k) {
    float* out = streams + k * width;
    for (std::int64_t j = 0; j < n; ++j) {
      const float share = matrix[j * n + k];
      const float* x = before.data() + j * width;
      for (std::int64_t i = 0; i < width; ++i) {
        out[i] = j == 0 ? share * x[i] : out[i] + share * x[i];
      }
    }
  }
}

}  // namespace

void read_streams(int threads, const RowLayout& rows, const Tensor& streams,
                  const StreamWeights& weights, const StreamRule& rule, const Tensor& out,
                  const Tensor& factors) {
  const std::int64_t n = streams.cols();
  for_each_tile(threads, rows, kStreamRows, [&](const Tile& tile) {
    auto products = scratch<Mixed>(tile.rows, weights.mixer.rows());
    product(block(streams, tile.first_row, tile.rows), weights.mixer, Store::assign, products);
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      const float* x = row_of(streams, tile.first_row + i);
      const float mean_square = dot(x, x, n) / static_cast<float>(n);
      const Coefficients coefficients{&products(i, 0),
                                      1.0f / std::sqrt(mean_square + rule.norm_eps), weights};
      mix(x, coefficients, rule, out.cols(), row_of(out, tile.first_row + i));
      if (factors.empty()) continue;
      float* factor = row_of(factors, tile.first_row + i);
      for (std::int64_t k = 0; k < rule.count; ++k) {
        factor[k] = rule.factor_scale * coefficients.at(rule.count + k, 1) + rule.factor_eps;
      }
      if (rule.mixing_rounds > 0) write_mixing(coefficients, rule, factor + rule.count);
    }
  });
}

void write_streams(int threads, const RowLayout& rows, const Tensor& x, const Tensor& factors,
                   const Tensor& streams) {
  const std::int64_t width = x.cols(), n = streams.cols() / width;
  for_each_tile(threads, rows, kStreamRows, [&](const Tile& tile) {
    for (std::int64_t row = tile.first_row; row < tile.first_row + tile.rows; ++row) {
      const float* y = row_of(x, row);
      if (factors.cols() > n) mix_streams(row_of(factors, row) + n, n, width, row_of(streams, row));
      for (std::int64_t k = 0; k < n; ++k) {
        const float factor = row_of(factors, row)[k];
        float* stream = row_of(streams, row) + k * width;
        for (std::int64_t i = 0; i < width; ++i) stream[i] += factor * y[i];
      }
    }
  });
}

}  // namespace indexcache::cpu
