// SPDX-License-Identifier: Apache-2.0
#include "profile/decode.h"

#include "search/decode_time.h"

#include <string>

namespace indexcache {
namespace {

// What counts as loss is the product with lm_head, which a step needs.
std::vector<TimedPart> step_parts(const ComponentSeconds& components) {
  std::vector<TimedPart> parts;
  for (std::size_t c = 0; c < kComponents; ++c) {
    const bool is_head = static_cast<Component>(c) == Component::loss;
    parts.push_back({is_head ? "lm_head" : std::string(kComponentNames[c]), components[c]});
  }
  return parts;
}

}  // namespace

std::vector<ProfilePoint> profile_decode(
    const DecodeSubject& subject, std::span<const Pattern> patterns,
    std::span<const std::int64_t> contexts, std::span<const std::int64_t> batches, int repeat,
    const std::function<void(std::size_t, std::size_t)>& done) {
  std::vector<ProfilePoint> points;
  for (const std::int64_t context : contexts) {
    for (const std::int64_t batch : batches) {
      const DecodeTimes times =
          time_decode(subject.config, subject.weights, subject.backend, patterns,
                      {.context = context, .batch = batch}, subject.memory_bytes, repeat);
      ProfilePoint point{.context = context, .batch = batch, .times = {}};
      for (const DecodeTime& time : times.patterns) {
        point.times.push_back({time.seconds, step_parts(time.parts)});
      }
      points.push_back(std::move(point));
      done(points.size(), contexts.size() * batches.size());
    }
  }
  return points;
}

}  // namespace indexcache
