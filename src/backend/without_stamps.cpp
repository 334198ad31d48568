// SPDX-License-Identifier: Apache-2.0
#include "backend/without_stamps.h"

#include <algorithm>
#include <numeric>

namespace indexcache {

double sum_of(const ComponentSeconds& seconds) {
  return std::accumulate(seconds.begin(), seconds.end(), 0.0);
}

ComponentSeconds without_stamps(const ComponentProfile& profile, double whole) {
  const double added = sum_of(profile.seconds) - whole;
  if (added <= 0 || whole <= 0) return profile.seconds;
  const double stamp = added / sum_of(profile.pieces);
  ComponentSeconds rest{};
  for (std::size_t c = 0; c < kComponents; ++c) {
    rest[c] = std::max(profile.seconds[c] - stamp * profile.pieces[c], 0.0);
  }
  const double scale = whole / sum_of(rest);
  for (double& seconds : rest) seconds *= scale;
  return rest;
}

}  // namespace indexcache
