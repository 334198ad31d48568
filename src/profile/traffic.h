// SPDX-License-Identifier: Apache-2.0
// What a user's requests take under each pattern, composed of measured passes: no queue, no batch
// and no engine is part of it (docs/profile.md).
#pragma once

#include "profile/lengths.h"

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace indexcache {

// Seconds of a pass by its number of tokens, through measured points. Between two of them it is
// a + b n + c n^2 through both and the nearest further point; n tokens up to `split` select all of
// them, so that what is measured on one side of it says nothing of the other side: a piece with no
// further point on its side is a + b n.
class TimeCurve {
 public:
  using Point = std::pair<std::int64_t, double>;  // tokens, seconds

  // By rising tokens, at least one.
  TimeCurve(std::vector<Point> points, std::int64_t split);

  // Exactly the measured seconds at a point. `tokens` is within the points.
  double at(std::int64_t tokens) const;

 private:
  std::vector<Point> points_;
  std::int64_t split_;
};

// Times to the first token of all requests in seconds. A percentile is the least time that this
// part of the requests does not exceed.
struct FirstTokenTimes {
  double mean = 0;
  double median = 0;
  double p90 = 0;
  double p99 = 0;

  bool operator==(const FirstTokenTimes&) const = default;
};

struct Traffic {
  std::string source;  // name of the file
  std::string sha256;
  std::int64_t requests = 0;
  std::int64_t prompt_tokens = 0;
  std::int64_t output_tokens = 0;
  std::vector<FirstTokenTimes> times;  // [patterns of the profile]

  // Prompt tokens per second of a device that prefills one request after the other.
  double tokens_per_second(std::size_t pattern) const {
    return static_cast<double>(prompt_tokens) /
           (times[pattern].mean * static_cast<double>(requests));
  }

  bool operator==(const Traffic&) const = default;
};

FirstTokenTimes first_token_times(const Lengths& lengths, const TimeCurve& curve);

// `curves`: of the patterns. Throws InputError naming the line of a prompt that is shorter or
// longer than what was measured, tokens `shortest` to `longest`.
Traffic compose_traffic(const Lengths& lengths, std::span<const TimeCurve> curves,
                        std::int64_t shortest, std::int64_t longest);

}  // namespace indexcache
