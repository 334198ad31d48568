// SPDX-License-Identifier: Apache-2.0
#include "search/paired.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace indexcache {

double student_t_975(std::size_t degrees_of_freedom) {
  static constexpr std::array<double, 30> kTable = {
      12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
      2.2010,  2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
      2.0796,  2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423};
  if (degrees_of_freedom <= kTable.size()) return kTable[degrees_of_freedom - 1];
  // Cornish-Fisher expansion about the normal quantile; exact to four decimals from here on.
  const double z = 1.959963985;
  const double n = static_cast<double>(degrees_of_freedom);
  return z + (z * z * z + z) / (4 * n) +
         (5 * std::pow(z, 5) + 16 * z * z * z + 3 * z) / (96 * n * n);
}

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
  const double half = student_t_975(losses.size() - 1) * *error;
  result.ci95 = {result.mean - half, result.mean + half};
  return result;
}

}  // namespace indexcache
