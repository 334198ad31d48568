// SPDX-License-Identifier: Apache-2.0
#include "search/baselines.h"

#include "search/segment_paths.h"

#include <algorithm>
#include <random>
#include <vector>

namespace indexcache {
namespace {

// How much of their own sets the S layers of a segment do not find in that of its F layer.
double missed_overlap(const Overlap& overlap, const PatternSegment& segment) {
  double missed = 0;
  for (std::size_t layer = segment.first + 1; layer < segment.end; ++layer) {
    missed += 1 - overlap.mean(segment.first, layer);
  }
  return missed;
}

// Layer 0, the pinned layers and others that are drawn one after another, `full` in all.
Pattern drawn_pattern(const SearchSpace& space, std::size_t full, std::mt19937_64& random) {
  std::vector<bool> chosen(space.start.layers(), false);
  std::vector<std::size_t> free;
  std::size_t kept = 0;
  for (const std::size_t layer : space.start.full_layers()) {
    const bool stays = layer == 0 || space.constraints.pinned_full[layer];
    chosen[layer] = stays;
    kept += stays ? 1 : 0;
    if (!stays && !space.constraints.pinned_shared[layer]) free.push_back(layer);
  }
  for (; kept < full && !free.empty(); ++kept) {
    const auto place = static_cast<std::ptrdiff_t>(random() % free.size());
    chosen[free[static_cast<std::size_t>(place)]] = true;
    free.erase(free.begin() + place);
  }
  return Pattern::from_full_layers(chosen);
}

}  // namespace

Pattern uniform_of_size(const Pattern& baseline, std::size_t full) {
  const std::vector<std::size_t> owners = baseline.full_layers();
  const std::size_t n = owners.size();
  const std::size_t period = (n + full - 1) / full;
  const bool periodic = (n + period - 1) / period == full;
  std::vector<bool> chosen(baseline.layers(), false);
  for (std::size_t i = 0; i < full; ++i)
    chosen[owners[periodic ? i * period : i * n / full]] = true;
  return Pattern::from_full_layers(chosen);
}

std::optional<Pattern> overlap_pattern(const Overlap& overlap, const Pattern& baseline,
                                       const Constraints& constraints, std::size_t full) {
  SegmentTable table(baseline);
  for (const std::size_t first : baseline.full_layers()) {
    for (const std::size_t end : table.ends(first)) {
      table.set({first, end}, missed_overlap(overlap, {first, end}));
    }
  }
  const SegmentPaths paths(table, constraints, 1);
  if (paths.of(full).empty()) return std::nullopt;
  return paths.of(full).front().pattern(baseline.layers());
}

std::vector<Pattern> random_patterns(const SearchSpace& space, std::size_t full,
                                     std::size_t count) {
  constexpr std::size_t kMostDraws = 10000;
  std::mt19937_64 random(full);
  std::vector<Pattern> patterns;
  for (std::size_t draw = 0; draw < kMostDraws && patterns.size() < count; ++draw) {
    Pattern pattern = drawn_pattern(space, full, random);
    if (pattern.full_count() != full || !space.holds(pattern) ||
        std::ranges::count(patterns, pattern) > 0)
      continue;
    patterns.push_back(std::move(pattern));
  }
  return patterns;
}

}  // namespace indexcache
