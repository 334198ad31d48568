// SPDX-License-Identifier: Apache-2.0
#include "profile/prefill.h"

#include "backend/without_stamps.h"

#include <algorithm>

namespace indexcache {
namespace {

// Every component but the loss, which a prefill does not compute.
std::vector<TimedPart> parts_of(const ComponentSeconds& components) {
  std::vector<TimedPart> parts;
  for (std::size_t c = 0; c < kComponents; ++c) {
    if (static_cast<Component>(c) == Component::loss) continue;
    parts.push_back({std::string(kComponentNames[c]), components[c]});
  }
  return parts;
}

// What was measured of one pattern.
struct Passes {
  std::vector<double> seconds;
  std::vector<ComponentProfile> components;

  // Parts are those of one pass.
  PatternTime median() {
    const auto middle = static_cast<std::ptrdiff_t>(seconds.size() / 2);
    std::ranges::nth_element(seconds, seconds.begin() + middle);
    std::ranges::nth_element(components, components.begin() + middle, {}, sum);
    const double whole = seconds[static_cast<std::size_t>(middle)];
    const ComponentProfile& stamped = components[static_cast<std::size_t>(middle)];
    return {whole, parts_of(without_stamps(stamped, whole)), sum(stamped)};
  }

  static double sum(const ComponentProfile& profile) { return sum_of(profile.seconds); }
};

}  // namespace

std::vector<ProfilePoint> profile_prefill(
    PrefillTimer& timer, std::span<const Pattern> patterns, std::span<const std::int64_t> contexts,
    int repeat, const std::function<void(std::size_t, std::size_t)>& done) {
  const std::size_t all =
      contexts.size() * patterns.size() * (1 + 2 * static_cast<std::size_t>(repeat));
  std::size_t passes = 0;
  std::vector<ProfilePoint> points;
  for (const std::int64_t context : contexts) {
    timer.begin(context);
    for (const Pattern& pattern : patterns) {
      timer.warm_up(pattern);
      done(++passes, all);
    }
    std::vector<Passes> measured(patterns.size());
    for (int turn = 0; turn < repeat; ++turn) {
      for (std::size_t p = 0; p < patterns.size(); ++p) {
        measured[p].seconds.push_back(timer.time(patterns[p]));
        done(++passes, all);
        measured[p].components.push_back(timer.time_components(patterns[p]));
        done(++passes, all);
      }
    }
    ProfilePoint point{.context = context, .times = {}};
    for (Passes& of_pattern : measured) point.times.push_back(of_pattern.median());
    point.set_copy_seconds = timer.time_set_copy();
    points.push_back(std::move(point));
  }
  return points;
}

std::vector<TimeCurve> time_curves(std::span<const ProfilePoint> points, std::int64_t split) {
  std::vector<TimeCurve> curves;
  for (std::size_t p = 0; p < points.front().times.size(); ++p) {
    std::vector<TimeCurve::Point> curve;
    for (const ProfilePoint& point : points) {
      curve.emplace_back(point.context, point.times[p].seconds);
    }
    curves.emplace_back(std::move(curve), split);
  }
  return curves;
}

}  // namespace indexcache
