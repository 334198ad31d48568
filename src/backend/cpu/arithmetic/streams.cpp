// SPDX-License-Identifier: Apache-2.0
// Residual streams: what a sublayer reads of them, and how its result is added to them.
#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/arithmetic/matrix.h"
#include "backend/cpu/arithmetic/product.h"
#include "backend/cpu/arithmetic/simd.h"
#include "backend/cpu/tiles.h"

#include <cmath>

namespace indexcache::cpu {
namespace {

constexpr std::int64_t kStreamRows = 128;

struct Mixed;

// sigmoid(scale * m + base) of one coefficient; `m` is its product with the row before the norm.
struct Coefficients {
  const float* products;
  float norm;  // 1 / sqrt(mean(x^2) + norm_eps)
  const StreamWeights& weights;

  float at(std::int64_t i, std::int64_t part) const {
    const float scale = weights.scale.data<float>()[part];
    const float logit = scale * (products[i] * norm) + weights.base.data<float>()[i];
    return 1.0f / (1.0f + std::exp(-logit));
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
        factor[k] = rule.factor_scale * coefficients.at(rule.count + k, 1) + rule.eps;
      }
    }
  });
}

void write_streams(int threads, const RowLayout& rows, const Tensor& x, const Tensor& factors,
                   const Tensor& streams) {
  const std::int64_t width = x.cols();
  for_each_tile(threads, rows, kStreamRows, [&](const Tile& tile) {
    for (std::int64_t row = tile.first_row; row < tile.first_row + tile.rows; ++row) {
      const float* y = row_of(x, row);
      for (std::int64_t k = 0; k < factors.cols(); ++k) {
        const float factor = row_of(factors, row)[k];
        float* stream = row_of(streams, row) + k * width;
        for (std::int64_t i = 0; i < width; ++i) stream[i] += factor * y[i];
      }
    }
  });
}

}  // namespace indexcache::cpu
