// SPDX-License-Identifier: Apache-2.0
#include "serving/frequency.h"

#include <algorithm>

namespace indexcache {
namespace {

std::int64_t distance(FrequencyRule rule, std::int64_t layer, std::int64_t offset) {
  const auto behind = [&](std::int64_t first) { return std::max<std::int64_t>(layer - first, 0); };
  switch (rule) {
    case FrequencyRule::a:
      return behind(1);
    case FrequencyRule::b:
      return behind(offset - 1);
    case FrequencyRule::c:
      return layer;
    case FrequencyRule::d:
      break;
  }
  return behind(offset);
}

}  // namespace

std::string frequency_schedule(FrequencyRule rule, std::size_t layers, std::int64_t freq,
                               std::int64_t offset) {
  std::string schedule;
  for (std::size_t layer = 0; layer < layers; ++layer) {
    schedule += distance(rule, static_cast<std::int64_t>(layer), offset) % freq == 0 ? 'F' : 'S';
  }
  return schedule;
}

}  // namespace indexcache
