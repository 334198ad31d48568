// SPDX-License-Identifier: Apache-2.0
#include "search/weighted_mean.h"

#include <cmath>

namespace indexcache {

WeightedMean weighted_mean_of(std::span<const double> values, std::span<const double> weights) {
  const auto counts = [&](std::size_t i) { return weights[i] > 0 && !std::isnan(values[i]); };
  WeightedMean result;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!counts(i)) continue;
    result.mean += weights[i] * values[i];
    result.weight += weights[i];
    ++result.count;
  }
  if (result.count == 0) return result;
  result.mean /= result.weight;
  if (result.count < 2) return result;
  double squares = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!counts(i)) continue;
    // By how much the mean changes without this value.
    const double change = weights[i] * (values[i] - result.mean) / (result.weight - weights[i]);
    squares += change * change;
  }
  const auto n = static_cast<double>(result.count);
  result.error = std::sqrt(squares * (n - 1) / n);
  return result;
}

}  // namespace indexcache
