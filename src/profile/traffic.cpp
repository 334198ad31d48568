// SPDX-License-Identifier: Apache-2.0
#include "profile/traffic.h"

#include "core/count_text.h"
#include "core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace indexcache {
namespace {

double slope(const TimeCurve::Point& a, const TimeCurve::Point& b) {
  return (b.second - a.second) / static_cast<double>(b.first - a.first);
}

// The time at rank `share` of all requests; times are ascending.
double percentile(const std::vector<std::pair<double, std::int64_t>>& times, std::int64_t requests,
                  double share) {
  const auto rank = static_cast<std::int64_t>(std::ceil(share * static_cast<double>(requests)));
  std::int64_t passed = 0;
  for (const auto& [seconds, count] : times) {
    passed += count;
    if (passed >= rank) return seconds;
  }
  return times.back().first;
}

}  // namespace

TimeCurve::TimeCurve(std::vector<Point> points, std::int64_t split)
    : points_(std::move(points)), split_(split) {}

double TimeCurve::at(std::int64_t tokens) const {
  const auto upper = std::ranges::lower_bound(points_, tokens, {}, &Point::first);
  if (upper->first == tokens) return upper->second;
  const auto lower = upper - 1;
  const auto on_one_side = [&](const Point& first, const Point& last) {
    return last.first <= split_ || first.first >= split_;
  };
  const double from_lower = static_cast<double>(tokens - lower->first);
  const double line = lower->second + slope(*lower, *upper) * from_lower;
  const auto bent_by = [&](const Point& third) {
    const double bend = (slope(*upper, third) - slope(*lower, *upper)) /
                        static_cast<double>(third.first - lower->first);
    return line + bend * from_lower * static_cast<double>(tokens - upper->first);
  };
  if (upper + 1 != points_.end() && on_one_side(*lower, upper[1])) return bent_by(upper[1]);
  if (lower != points_.begin() && on_one_side(lower[-1], *upper)) return bent_by(lower[-1]);
  return line;
}

FirstTokenTimes first_token_times(const Lengths& lengths, const TimeCurve& curve) {
  std::vector<std::pair<double, std::int64_t>> times;
  for (const LengthCount& prompt : lengths.prompts) {
    times.emplace_back(curve.at(prompt.prompt), prompt.count);
  }
  std::ranges::sort(times);
  // From the least time on: equal times have exactly their own mean.
  double above = 0;
  for (const auto& [seconds, count] : times) {
    above += (seconds - times.front().first) * static_cast<double>(count);
  }
  const auto at = [&](double share) { return percentile(times, lengths.requests, share); };
  return {.mean = times.front().first + above / static_cast<double>(lengths.requests),
          .median = at(0.5),
          .p90 = at(0.9),
          .p99 = at(0.99)};
}

Traffic compose_traffic(const Lengths& lengths, std::span<const TimeCurve> curves,
                        std::int64_t shortest, std::int64_t longest) {
  for (const LengthCount& prompt : lengths.prompts) {
    if (prompt.prompt >= shortest && prompt.prompt <= longest) continue;
    throw InputError(
        {"the lengths go beyond what was measured",
         fmt::format("{}:{}", lengths.file.string(), prompt.line),
         fmt::format("a prompt of {} tokens; measured were {} to {}", count_text(prompt.prompt),
                     count_text(shortest), count_text(longest)),
         "add that length to --context, or leave --context out: then all lengths are covered"});
  }
  Traffic traffic{.source = lengths.file.filename().string(),
                  .sha256 = lengths.sha256,
                  .requests = lengths.requests,
                  .prompt_tokens = lengths.prompt_tokens,
                  .output_tokens = lengths.output_tokens,
                  .times = {}};
  for (const TimeCurve& curve : curves) traffic.times.push_back(first_token_times(lengths, curve));
  return traffic;
}

}  // namespace indexcache
