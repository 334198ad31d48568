// SPDX-License-Identifier: Apache-2.0
// Residuals of a sweep, and how far two of them are apart.
#pragma once

#include "search/sweep_evaluator.h"
#include "support/catch.h"

#include <cmath>
#include <map>
#include <span>
#include <vector>

namespace indexcache::test {

// Which rows of a sweep are kept.
enum class KeptRows { all, selecting };

// The residual after each layer, [rows, width] in the order in which the sweep computes them.
class Residuals : public SweepObserver {
 public:
  explicit Residuals(Backend& backend, KeptRows kept = KeptRows::all)
      : backend_(backend), kept_(kept) {}

  void layer_done(std::size_t layer, std::span<const std::size_t>, const RowLayout&, const Tensor&,
                  const Tensor& hidden) override {
    add(layer, hidden);
  }
  void prefix_rows_done(std::size_t layer, const RowLayout&, const Tensor& hidden) override {
    if (kept_ == KeptRows::all) add(layer, hidden);
  }

  std::map<std::size_t, std::vector<float>> of_layer;
  std::int64_t width = 0;

 private:
  void add(std::size_t layer, const Tensor& hidden) {
    const std::vector<float> rows = backend_.download(hidden);
    of_layer[layer].insert(of_layer[layer].end(), rows.begin(), rows.end());
    width = hidden.cols();
  }

  Backend& backend_;
  KeptRows kept_;
};

// Of vectors: how far one is from the other, relative to its length.
inline double distance(std::span<const float> one, std::span<const float> other) {
  REQUIRE(one.size() == other.size());
  double square = 0, length = 0;
  for (std::size_t i = 0; i < one.size(); ++i) {
    square += (double{one[i]} - other[i]) * (double{one[i]} - other[i]);
    length += double{other[i]} * other[i];
  }
  return std::sqrt(square / length);
}

}  // namespace indexcache::test
