// SPDX-License-Identifier: Apache-2.0
// Means over sequences that weigh different numbers of tokens.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

namespace indexcache {

struct WeightedMean {
  double mean = 0;
  // Standard error of the mean; nullopt for fewer than two values that count.
  std::optional<double> error = std::nullopt;
  std::size_t count = 0;  // values that count
  double weight = 0;      // of them
};

// Of the values that are known (not NaN) and have a positive weight. The error is that of the
// jackknife, which leaves out one value at a time: for equal weights the usual s / sqrt(n), and for
// unequal ones it does not vanish if one value outweighs the others.
WeightedMean weighted_mean_of(std::span<const double> values, std::span<const double> weights);

}  // namespace indexcache
