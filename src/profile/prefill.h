// SPDX-License-Identifier: Apache-2.0
// Times of prefills by context and pattern.
#pragma once

#include "backend/device.h"
#include "profile/profile.h"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace indexcache {

// Runs passes and takes their times.
class PrefillTimer {
 public:
  virtual ~PrefillTimer() = default;

  // Sets the length of the passes that follow.
  virtual void begin(std::int64_t context) = 0;
  // A pass that does not count, the first of a pattern. Throws InputError if the model's numbers
  // are not finite: their times would say little.
  virtual void warm_up(const Pattern& pattern) = 0;
  // Seconds of a pass.
  virtual double time(const Pattern& pattern) = 0;
  // The same, by component.
  virtual ComponentProfile time_components(const Pattern& pattern) = 0;
  // Seconds of a copy of the index sets of all layers; 0 if no position selects.
  virtual double time_set_copy() = 0;
};

// A point per context; the first pattern is that with every indexer. Every pattern warms up once
// and runs `repeat` times with either clock. Patterns take turns, so that a device that becomes
// slower does so for all of them. `done` is called after every pass with (passes done, all passes).
std::vector<ProfilePoint> profile_prefill(
    PrefillTimer& timer, std::span<const Pattern> patterns, std::span<const std::int64_t> contexts,
    int repeat, const std::function<void(std::size_t, std::size_t)>& done);

// Curves of the patterns through the points, for compose_traffic; `split` as in TimeCurve.
std::vector<TimeCurve> time_curves(std::span<const ProfilePoint> points, std::int64_t split);

}  // namespace indexcache
