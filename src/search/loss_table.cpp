// SPDX-License-Identifier: Apache-2.0
#include "search/loss_table.h"

#include <cmath>
#include <limits>

namespace indexcache {

void LossTable::add(const Pattern& pattern, std::span<const std::size_t> sequences,
                    std::span<const double> losses) {
  constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  SequenceLosses& row =
      losses_.try_emplace(pattern, SequenceLosses(sequences_, kUnknown)).first->second;
  for (std::size_t i = 0; i < sequences.size(); ++i) row[sequences[i]] = losses[i];
}

bool LossTable::knows(const Pattern& pattern, std::size_t sequence) const {
  const auto found = losses_.find(pattern);
  return found != losses_.end() && !std::isnan(found->second[sequence]);
}

std::vector<std::size_t> LossTable::missing(const Pattern& pattern,
                                            std::span<const std::size_t> sequences) const {
  std::vector<std::size_t> unknown;
  for (const std::size_t sequence : sequences) {
    if (!knows(pattern, sequence)) unknown.push_back(sequence);
  }
  return unknown;
}

SequenceLosses LossTable::of(const Pattern& pattern, std::span<const std::size_t> sequences) const {
  const SequenceLosses& row = losses_.at(pattern);
  SequenceLosses losses;
  for (const std::size_t sequence : sequences) losses.push_back(row[sequence]);
  return losses;
}

}  // namespace indexcache
