// SPDX-License-Identifier: Apache-2.0
// Losses that are known, by pattern and sequence.
#pragma once

#include "core/pattern.h"
#include "search/search_path.h"

#include <cstddef>
#include <map>
#include <span>
#include <vector>

namespace indexcache {

class LossTable {
 public:
  // Of a token set with so many sequences.
  explicit LossTable(std::size_t sequences = 0) : sequences_(sequences) {}

  // losses[i] is that of sequences[i]. A loss that is known already is replaced.
  void add(const Pattern& pattern, std::span<const std::size_t> sequences,
           std::span<const double> losses);

  bool knows(const Pattern& pattern, std::size_t sequence) const;
  // Those of `sequences` whose loss is not known, in their order.
  std::vector<std::size_t> missing(const Pattern& pattern,
                                   std::span<const std::size_t> sequences) const;
  // Losses of `sequences`; they must be known.
  SequenceLosses of(const Pattern& pattern, std::span<const std::size_t> sequences) const;

  std::size_t sequences() const { return sequences_; }
  std::size_t patterns() const { return losses_.size(); }

 private:
  std::size_t sequences_;
  std::map<Pattern, SequenceLosses> losses_;  // NaN: not known; a measured loss is finite
};

}  // namespace indexcache
