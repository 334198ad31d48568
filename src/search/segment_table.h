// SPDX-License-Identifier: Apache-2.0
// What segments cost: the parts of which the loss of a pattern is, nearly, the sum
// (docs/algorithm.md, "Segments").
//
// A segment is an F layer and the S layers that it feeds. Its cost is the loss increase of the
// pattern that has this one segment and every other layer F. A pattern is a sequence of segments,
// and the sum of their costs predicts its loss increase.
#pragma once

#include "core/pattern.h"

#include <compare>
#include <cstddef>
#include <optional>
#include <vector>

namespace indexcache {

// Layers first, …, end - 1: the first is F, the others are S.
struct PatternSegment {
  std::size_t first;
  std::size_t end;

  friend auto operator<=>(const PatternSegment&, const PatternSegment&) = default;
};

class SegmentTable {
 public:
  // No segment of `start` (the pattern that costs are relative to) is measured yet, except those
  // that share nothing: they cost 0.
  explicit SegmentTable(Pattern start);

  const Pattern& start() const { return start_; }

  // Ends that segments of layer `first` can have, ascending: the later F layers of `start`, and the
  // number of layers. Empty if the layer is S in `start`.
  std::vector<std::size_t> ends(std::size_t first) const;

  // `start` with all layers of the segment shared except its first.
  Pattern pattern(const PatternSegment& segment) const;

  // The segment that is all that `pattern` shares; nullopt if there are several, or none.
  std::optional<PatternSegment> only_segment(const Pattern& pattern) const;

  // Nats per token; nullopt if it was not measured.
  std::optional<double> cost(const PatternSegment& segment) const;
  void set(const PatternSegment& segment, double cost);
  // Of a segment that left a race: measured on some of the sequences.
  void estimate(const PatternSegment& segment, double cost);

  // The cost; if it was not measured, an assumed lower bound: costs of a layer grow with the
  // segment's length, except that they may fall by as much as they did anywhere in the table.
  double bound(const PatternSegment& segment) const;

  // The largest fall of costs while a segment grows; of estimates nothing is concluded.
  double fall() const { return fall_; }

  // Sum of the costs of a pattern's segments; nullopt if one of them was not measured. The pattern
  // is F only where `start` is.
  std::optional<double> predict(const Pattern& pattern) const;

 private:
  bool shares_nothing(const PatternSegment& segment) const;
  std::size_t place(const PatternSegment& segment) const;
  double highest_before(const PatternSegment& segment, bool only_certain) const;

  Pattern start_;
  std::vector<std::optional<double>> costs_;  // [layers][layers + 1]
  std::vector<bool> certain_;                 // the same; not estimated
  double fall_ = 0;
};

// The segments of a pattern, ascending.
std::vector<PatternSegment> segments_of(const Pattern& pattern);

}  // namespace indexcache
