// SPDX-License-Identifier: Apache-2.0
#include "search/segment_table.h"

#include <algorithm>
#include <utility>

namespace indexcache {

SegmentTable::SegmentTable(Pattern start)
    : start_(std::move(start)),
      costs_(start_.layers() * (start_.layers() + 1)),
      certain_(costs_.size(), false) {
  for (const std::size_t first : start_.full_layers()) {
    for (const std::size_t end : ends(first)) {
      if (shares_nothing({first, end})) costs_[place({first, end})] = 0;
    }
  }
}

std::vector<std::size_t> SegmentTable::ends(std::size_t first) const {
  std::vector<std::size_t> found;
  if (!start_.is_full(first)) return found;
  for (std::size_t end = first + 1; end < start_.layers(); ++end) {
    if (start_.is_full(end)) found.push_back(end);
  }
  found.push_back(start_.layers());
  return found;
}

bool SegmentTable::shares_nothing(const PatternSegment& segment) const {
  return pattern(segment) == start_;
}

Pattern SegmentTable::pattern(const PatternSegment& segment) const {
  Pattern pattern = start_;
  for (std::size_t layer = segment.first + 1; layer < segment.end; ++layer) {
    pattern = pattern.with_shared(layer);
  }
  return pattern;
}

std::optional<PatternSegment> SegmentTable::only_segment(const Pattern& pattern) const {
  if (pattern == start_) return std::nullopt;
  for (const PatternSegment& segment : segments_of(pattern)) {
    if (this->pattern(segment) == pattern) return segment;
  }
  return std::nullopt;
}

std::size_t SegmentTable::place(const PatternSegment& segment) const {
  return segment.first * (start_.layers() + 1) + segment.end;
}

std::optional<double> SegmentTable::cost(const PatternSegment& segment) const {
  return costs_[place(segment)];
}

double SegmentTable::highest_before(const PatternSegment& segment, bool only_certain) const {
  double highest = 0;
  for (std::size_t end = segment.first + 1; end < segment.end; ++end) {
    const std::size_t shorter = place({segment.first, end});
    if (only_certain && !certain_[shorter]) continue;
    highest = std::max(highest, costs_[shorter].value_or(0));
  }
  return highest;
}

void SegmentTable::set(const PatternSegment& segment, double cost) {
  costs_[place(segment)] = cost;
  certain_[place(segment)] = true;
  fall_ = std::max(fall_, highest_before(segment, true) - cost);
}

void SegmentTable::estimate(const PatternSegment& segment, double cost) {
  costs_[place(segment)] = cost;
  certain_[place(segment)] = false;
}

double SegmentTable::bound(const PatternSegment& segment) const {
  const auto known = cost(segment);
  return known ? *known : highest_before(segment, false) - fall_;
}

std::optional<double> SegmentTable::predict(const Pattern& pattern) const {
  double sum = 0;
  for (const PatternSegment& segment : segments_of(pattern)) {
    const auto known = cost(segment);
    if (!known) return std::nullopt;
    sum += *known;
  }
  return sum;
}

std::vector<PatternSegment> segments_of(const Pattern& pattern) {
  std::vector<PatternSegment> segments;
  for (const std::size_t first : pattern.full_layers()) {
    if (!segments.empty()) segments.back().end = first;
    segments.push_back({first, pattern.layers()});
  }
  return segments;
}

}  // namespace indexcache
