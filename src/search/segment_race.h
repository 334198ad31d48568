// SPDX-License-Identifier: Apache-2.0
// Whether a segment that was measured on some sequences may still be part of the best pattern.
#pragma once

#include "search/search_path.h"
#include "search/segment_paths.h"

#include <cstddef>
#include <map>
#include <span>
#include <vector>

namespace indexcache {

// Loss increases of segments, sequence by sequence, relative to the pattern that costs are relative
// to; NaN: not measured on the sequence.
using SegmentIncreases = std::map<PatternSegment, SequenceLosses>;

// A round of a race for one size. The cheapest pattern that contains a segment is compared with the
// cheapest pattern of all: both are sums of segments, and so are their losses on each sequence,
// which makes their difference a paired one.
class SegmentRace {
 public:
  // The references must outlive it.
  SegmentRace(const SegmentTable& table, const Constraints& constraints, std::size_t full,
              const SegmentIncreases& increases, std::span<const double> weights);

  // Whether it cannot be said, at the confidence `level`, that every pattern of this size with the
  // segment is more expensive than the cheapest one.
  bool may_win(const PatternSegment& segment, double level) const;

 private:
  SequenceLosses increases_of(const std::vector<PatternSegment>& path) const;
  // Of a segment that was not measured: those of the most expensive shorter one, which its bound is
  // taken from.
  const SequenceLosses* bound_of(const PatternSegment& segment) const;

  const SegmentTable& table_;
  const SegmentIncreases& increases_;
  std::span<const double> weights_;
  PathsThrough through_;
  bool has_best_ = false;  // false: no pattern of this size consists of measured segments
  SequenceLosses best_;
};

}  // namespace indexcache
