// SPDX-License-Identifier: Apache-2.0
#include "search/paired.h"

#include "search/student_t.h"

#include <algorithm>
#include <cmath>

namespace indexcache {

std::optional<SequenceDifference> largest_difference(const std::vector<double>& differences) {
  const auto largest = std::ranges::max_element(differences);
  if (largest == differences.end()) return std::nullopt;
  return SequenceDifference{static_cast<std::size_t>(largest - differences.begin()), *largest};
}

std::optional<double> standard_error(std::span<const double> losses,
                                     std::span<const double> baseline,
                                     std::span<const double> weights) {
  const std::size_t n = losses.size();
  if (n < 2) return std::nullopt;
  double mean = 0, total = 0;
  for (std::size_t s = 0; s < n; ++s) {
    mean += weights[s] * (losses[s] - baseline[s]);
    total += weights[s];
  }
  mean /= total;
  // Variance of a weighted mean of n independent differences; s^2 / n for equal weights.
  double variance = 0;
  for (std::size_t s = 0; s < n; ++s) {
    const double residual = weights[s] / total * (losses[s] - baseline[s] - mean);
    variance += residual * residual;
  }
  return std::sqrt(variance * static_cast<double>(n) / static_cast<double>(n - 1));
}

PairedDifference paired_difference(std::span<const double> losses, std::span<const double> baseline,
                                   std::span<const double> weights) {
  PairedDifference result;
  double total = 0;
  for (std::size_t s = 0; s < losses.size(); ++s) {
    result.per_sequence.push_back(losses[s] - baseline[s]);
    result.mean += weights[s] * result.per_sequence[s];
    total += weights[s];
  }
  result.mean /= total;
  result.largest = largest_difference(result.per_sequence);
  const auto error = standard_error(losses, baseline, weights);
  if (!error) return result;
  const double half = student_t_quantile(0.975, losses.size() - 1) * *error;
  result.ci95 = {result.mean - half, result.mean + half};
  return result;
}

}  // namespace indexcache
