// SPDX-License-Identifier: Apache-2.0
#include "backend/without_stamps.h"

#include <algorithm>
#include <numeric>

namespace indexcache {
namespace {

// A stamp is no more than this of the shortest pieces. A larger difference is not due to stamps.
constexpr double kMostOfPiece = 0.9;

}  // namespace

double sum_of(const ComponentSeconds& seconds) {
  return std::accumulate(seconds.begin(), seconds.end(), 0.0);
}

ComponentSeconds without_stamps(const ComponentProfile& profile, double whole) {
  const double added = sum_of(profile.seconds) - whole;
  if (added <= 0 || whole <= 0) return profile.seconds;
  double stamp = added / sum_of(profile.pieces);
  for (std::size_t c = 0; c < kComponents; ++c) {
    if (profile.pieces[c] == 0) continue;
    stamp = std::min(stamp, kMostOfPiece * profile.seconds[c] / profile.pieces[c]);
  }
  ComponentSeconds rest{};
  for (std::size_t c = 0; c < kComponents; ++c) {
    rest[c] = profile.seconds[c] - stamp * profile.pieces[c];
  }
  const double scale = whole / sum_of(rest);
  for (double& seconds : rest) seconds *= scale;
  return rest;
}

}  // namespace indexcache
