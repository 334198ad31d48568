// SPDX-License-Identifier: Apache-2.0
// Residual streams in plain loops and double precision, and wrong in ways that programs have been.
#pragma once

#include "backend/backend.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace indexcache::test {

// How a reader of streams may be wrong.
struct StreamMistakes {
  bool rows_first = false;    // Sinkhorn's first step divides rows
  bool norm_of_each = false;  // a norm for each stream instead of one for all
};

// What a sublayer reads of one row, and writes with.
struct StreamReading {
  std::vector<double> mixture, coefficients;
};

// The weights of a reader in host memory, as StreamWeights has them.
struct PlainStreamWeights {
  std::vector<float> mixer, base, scale;
};

// Makes the sums of the rows and columns of a matrix [n, n] nearly 1.
inline void balance(std::vector<double>& matrix, std::size_t n, const StreamRule& rule,
                    bool rows_first) {
  const auto divide = [&](bool rows) {
    for (std::size_t a = 0; a < n; ++a) {
      double sum = 0;
      for (std::size_t b = 0; b < n; ++b) sum += matrix[rows ? a * n + b : b * n + a];
      for (std::size_t b = 0; b < n; ++b) {
        matrix[rows ? a * n + b : b * n + a] /= sum + double{rule.eps};
      }
    }
  };
  divide(rows_first);
  for (int round = 1; round < rule.mixing_rounds; ++round) {
    divide(!rows_first);
    divide(rows_first);
  }
}

// Products of the mixer with a normalized row of streams.
inline std::vector<double> stream_products(const float* row, std::size_t hidden,
                                           const PlainStreamWeights& w, const StreamRule& rule,
                                           bool norm_of_each) {
  const std::size_t width = hidden * static_cast<std::size_t>(rule.count);
  const std::size_t part = norm_of_each ? hidden : width;
  std::vector<double> normal(row, row + width);
  for (std::size_t first = 0; first < width; first += part) {
    double squares = 0;
    for (std::size_t i = first; i < first + part; ++i) squares += normal[i] * normal[i];
    const double norm = std::sqrt(squares / static_cast<double>(part) + double{rule.norm_eps});
    for (std::size_t i = first; i < first + part; ++i) normal[i] /= norm;
  }
  std::vector<double> products(w.base.size(), 0.0);
  for (std::size_t m = 0; m < products.size(); ++m) {
    for (std::size_t i = 0; i < width; ++i) products[m] += normal[i] * w.mixer[m * width + i];
  }
  return products;
}

inline StreamReading read_plainly(const float* row, std::size_t hidden, const PlainStreamWeights& w,
                                  const StreamRule& rule, const StreamMistakes& mistakes = {}) {
  const auto n = static_cast<std::size_t>(rule.count);
  const auto products = stream_products(row, hidden, w, rule, mistakes.norm_of_each);
  const auto logit = [&](std::size_t i, std::size_t part) {
    return double{w.scale[part]} * products[i] + w.base[i];
  };
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  StreamReading reading{std::vector<double>(hidden, 0.0), {}};
  for (std::size_t k = 0; k < n; ++k) {
    const double share = sigmoid(logit(k, 0)) + double{rule.eps};
    for (std::size_t i = 0; i < hidden; ++i) reading.mixture[i] += share * row[k * hidden + i];
  }
  for (std::size_t k = 0; k < n && w.scale.size() > 1; ++k) {
    reading.coefficients.push_back(rule.factor_scale * sigmoid(logit(n + k, 1)) +
                                   double{rule.factor_eps});
  }
  if (w.scale.size() < 3) return reading;
  std::vector<double> matrix;
  for (std::size_t j = 0; j < n; ++j) {
    double sum = 0;
    for (std::size_t k = 0; k < n; ++k) {
      matrix.push_back(std::exp(logit((2 + j) * n + k, 2)));
      sum += matrix.back();
    }
    for (std::size_t k = 0; k < n; ++k) matrix[j * n + k] = matrix[j * n + k] / sum + rule.eps;
  }
  balance(matrix, n, rule, mistakes.rows_first);
  reading.coefficients.insert(reading.coefficients.end(), matrix.begin(), matrix.end());
  return reading;
}

}  // namespace indexcache::test
