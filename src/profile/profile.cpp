// SPDX-License-Identifier: Apache-2.0
#include "profile/profile.h"

#include "backend/device.h"

#include <algorithm>
#include <array>

namespace indexcache {
namespace {

// What a shared layer does without.
constexpr std::array kIndexerComponents = {Component::indexer_projections,
                                           Component::indexer_logits, Component::top_k,
                                           Component::index_key_writes};

}  // namespace

double PatternTime::parts_seconds() const {
  double sum = 0;
  for (const TimedPart& part : parts) sum += part.seconds;
  return sum;
}

double PatternTime::seconds_of(std::string_view part) const {
  const auto found = std::ranges::find(parts, part, &TimedPart::name);
  return found == parts.end() ? 0 : found->seconds;
}

double PatternTime::indexer_share() const {
  double sum = 0;
  for (const Component component : kIndexerComponents) {
    sum += seconds_of(kComponentNames[static_cast<std::size_t>(component)]);
  }
  const double all = parts_seconds();
  return all > 0 ? sum / all : 0;
}

const ProfilePoint* Profile::prefill_at(std::int64_t context) const {
  const auto found = std::ranges::find(prefill, context, &ProfilePoint::context);
  return found == prefill.end() ? nullptr : &*found;
}

std::optional<std::size_t> Profile::place_of(const Pattern& pattern) const {
  const auto found = std::ranges::find(patterns, pattern, &ProfiledPattern::pattern);
  if (found == patterns.end()) return std::nullopt;
  return static_cast<std::size_t>(found - patterns.begin());
}

}  // namespace indexcache
