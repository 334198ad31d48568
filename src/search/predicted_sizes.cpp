// SPDX-License-Identifier: Apache-2.0
#include "search/predicted_sizes.h"

#include "search/segment_paths.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace indexcache {
namespace {

std::optional<PredictedSize> known_size(const SegmentTable& table, const Constraints& constraints,
                                        const SegmentPaths& paths, std::size_t full) {
  const auto& cheapest = paths.of(full);
  if (cheapest.empty() || !open_segments(table, constraints, full).empty()) return std::nullopt;
  return PredictedSize{full, cheapest.front().pattern(table.start().layers()),
                       cheapest.front().cost};
}

}  // namespace

std::optional<PredictedSize> predicted_size(const SegmentTable& table,
                                            const Constraints& constraints, std::size_t full) {
  return known_size(table, constraints, SegmentPaths(table, constraints, 1), full);
}

std::vector<PredictedSize> predicted_sizes(const SegmentTable& table,
                                           const Constraints& constraints) {
  const SegmentPaths paths(table, constraints, 1);
  std::vector<PredictedSize> sizes;
  for (std::size_t full = table.start().full_count(); full > 0; --full) {
    if (auto size = known_size(table, constraints, paths, full)) sizes.push_back(std::move(*size));
  }
  return sizes;
}

Constraints both(Constraints constraints, const Constraints& others) {
  for (std::size_t layer = 0; layer < others.pinned_full.size(); ++layer) {
    if (others.pinned_full[layer]) constraints.pinned_full[layer] = true;
    if (others.pinned_shared[layer]) constraints.pinned_shared[layer] = true;
  }
  if (constraints.max_run == 0 || others.max_run == 0) {
    constraints.max_run = std::max(constraints.max_run, others.max_run);
  } else {
    constraints.max_run = std::min(constraints.max_run, others.max_run);
  }
  return constraints;
}

bool is_possible(const SegmentTable& table, const Constraints& constraints, std::size_t full) {
  const PathsThrough through(table, constraints, full);
  return std::ranges::any_of(table.ends(0), [&](std::size_t end) {
    return std::isfinite(through.cost({0, end}));
  });
}

}  // namespace indexcache
