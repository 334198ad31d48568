// SPDX-License-Identifier: Apache-2.0
// Paired differences of per-sequence losses, with a 95% interval.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace indexcache {

// A sequence and its own difference.
struct SequenceDifference {
  std::size_t sequence;
  double difference;  // nats per token

  bool operator==(const SequenceDifference&) const = default;
};

struct PairedDifference {
  double mean = 0;                                // nats per token
  std::optional<std::pair<double, double>> ci95;  // absent for a single sequence
  std::vector<double> per_sequence;
  std::optional<SequenceDifference> largest = std::nullopt;  // the first of equals

  bool operator==(const PairedDifference&) const = default;
};

// losses - baseline, sequence by sequence.
std::vector<double> differences(std::span<const double> losses, std::span<const double> baseline);

// The largest of `differences`; nullopt if there are none.
std::optional<SequenceDifference> largest_difference(const std::vector<double>& differences);

// losses - baseline, sequence by sequence; the mean weighs each by its predicted tokens. The
// interval is Student's t with n - 1 degrees of freedom over the n sequences that weigh anything,
// which are the independent units: tokens of one sequence are not.
PairedDifference paired_difference(std::span<const double> losses, std::span<const double> baseline,
                                   std::span<const double> weights);

// Standard error of the mean difference; nullopt for a single sequence.
std::optional<double> standard_error(std::span<const double> losses,
                                     std::span<const double> baseline,
                                     std::span<const double> weights);

}  // namespace indexcache
