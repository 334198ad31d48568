// SPDX-License-Identifier: Apache-2.0
#include "search/paired.h"

#include "search/student_t.h"
#include "search/weighted_mean.h"

#include <algorithm>

namespace indexcache {

std::vector<double> differences(std::span<const double> losses, std::span<const double> baseline) {
  std::vector<double> result(losses.size());
  for (std::size_t s = 0; s < losses.size(); ++s) result[s] = losses[s] - baseline[s];
  return result;
}

std::optional<SequenceDifference> largest_difference(const std::vector<double>& differences) {
  const auto largest = std::ranges::max_element(differences);
  if (largest == differences.end()) return std::nullopt;
  return SequenceDifference{static_cast<std::size_t>(largest - differences.begin()), *largest};
}

std::optional<double> standard_error(std::span<const double> losses,
                                     std::span<const double> baseline,
                                     std::span<const double> weights) {
  return weighted_mean_of(differences(losses, baseline), weights).error;
}

PairedDifference paired_difference(std::span<const double> losses, std::span<const double> baseline,
                                   std::span<const double> weights) {
  PairedDifference result;
  result.per_sequence = differences(losses, baseline);
  const WeightedMean mean = weighted_mean_of(result.per_sequence, weights);
  result.mean = mean.mean;
  result.largest = largest_difference(result.per_sequence);
  if (!mean.error) return result;
  const double half = student_t_quantile(0.975, mean.count - 1) * *mean.error;
  result.ci95 = {result.mean - half, result.mean + half};
  return result;
}

}  // namespace indexcache
