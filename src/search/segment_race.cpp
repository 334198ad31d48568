// SPDX-License-Identifier: Apache-2.0
#include "search/segment_race.h"

#include "search/race.h"

#include <limits>

namespace indexcache {

SegmentRace::SegmentRace(const SegmentTable& table, const Constraints& constraints,
                         std::size_t full, const SegmentIncreases& increases,
                         std::span<const double> weights)
    : table_(table), increases_(increases), weights_(weights), through_(table, constraints, full) {
  const SegmentPaths paths(table, constraints, 1);
  const std::vector<SegmentPath>& cheapest = paths.of(full);
  if (cheapest.empty()) return;
  has_best_ = true;
  best_ = increases_of(segments_of(cheapest.front().pattern(table.start().layers())));
}

bool SegmentRace::may_win(const PatternSegment& segment, double level) const {
  const std::vector<PatternSegment> path = through_.path(segment);
  if (path.empty()) return false;
  if (!has_best_) return true;
  SequenceLosses worse = increases_of(path);
  for (std::size_t s = 0; s < worse.size(); ++s) worse[s] -= best_[s];
  return !(lower_confidence_bound(worse, weights_, level) > 0);
}

SequenceLosses SegmentRace::increases_of(const std::vector<PatternSegment>& path) const {
  SequenceLosses sum(weights_.size(), 0.0);
  for (const PatternSegment& segment : path) {
    const auto known = increases_.find(segment);
    const bool measured = known != increases_.end();
    const SequenceLosses* of = measured ? &known->second : bound_of(segment);
    if (of == nullptr) continue;  // it shares nothing
    const double slack = measured ? 0 : table_.fall();
    for (std::size_t s = 0; s < sum.size(); ++s) sum[s] += (*of)[s] - slack;
  }
  return sum;
}

const SequenceLosses* SegmentRace::bound_of(const PatternSegment& segment) const {
  const SequenceLosses* highest = nullptr;
  double most = -std::numeric_limits<double>::infinity();
  if (table_.cost(segment)) return nullptr;
  for (std::size_t end = segment.first + 1; end < segment.end; ++end) {
    const auto shorter = increases_.find({segment.first, end});
    const auto cost = table_.cost({segment.first, end});
    if (shorter == increases_.end() || !cost || *cost <= most) continue;
    highest = &shorter->second;
    most = *cost;
  }
  return highest;
}

}  // namespace indexcache
