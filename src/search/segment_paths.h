// SPDX-License-Identifier: Apache-2.0
// The cheapest patterns of every size, as shortest paths over segments.
#pragma once

#include "search/constraints.h"
#include "search/segment_table.h"

#include <cstddef>
#include <vector>

namespace indexcache {

// Whether all layers of a segment but its first may be S.
bool may_be_shared(const Constraints& constraints, const PatternSegment& segment);

struct SegmentPath {
  double cost;  // sum over its segments, nats per token
  std::vector<std::size_t> firsts;

  Pattern pattern(std::size_t layers) const;
};

// The `count` cheapest sequences of k measured segments that cover all layers and keep the
// constraints, for every k at once: dynamic programming in O(count k N^2) for N layers. Among
// equals, segments that begin earlier come first. Constraints are forbidden segments, so the paths
// are the best of those that are allowed.
class SegmentPaths {
 public:
  SegmentPaths(const SegmentTable& table, const Constraints& constraints, std::size_t count);

  // Patterns with `full` F layers, cheapest first; empty if there is none.
  const std::vector<SegmentPath>& of(std::size_t full) const { return paths_[full]; }

 private:
  std::vector<std::vector<SegmentPath>> paths_;  // by number of segments
};

// The cheapest patterns with `full` F layers that contain a given segment, as far as is known:
// segments that were not measured count with their bounds.
class PathsThrough {
 public:
  PathsThrough(const SegmentTable& table, const Constraints& constraints, std::size_t full);

  // The cost; infinity if the constraints leave no pattern with the segment.
  double cost(const PatternSegment& segment) const;
  // All segments of that pattern, ascending; empty if there is none.
  std::vector<PatternSegment> path(const PatternSegment& segment) const;

 private:
  // How to reach a layer, or the end from it, with some number of segments.
  struct Way {
    double cost;
    PatternSegment segment;  // the one next to the layer
  };
  using Ways = std::vector<std::vector<Way>>;  // [segments][layer]

  // How many segments the cheapest pattern has before the given one.
  std::size_t segments_before(const PatternSegment& segment) const;

  const SegmentTable& table_;
  const Constraints& constraints_;
  std::size_t full_;
  Ways before_, after_;
};

// Segments that were not measured and, by their bounds, could be part of a pattern with `full` F
// layers that keeps the constraints and is cheaper than all those of measured segments: ascending.
// None of them: the cheapest pattern of that size is certain, as far as the bounds hold.
std::vector<PatternSegment> open_segments(const SegmentTable& table, const Constraints& constraints,
                                          std::size_t full);

}  // namespace indexcache
