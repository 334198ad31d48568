// SPDX-License-Identifier: Apache-2.0
#include "core/frequency.h"

#include <algorithm>

namespace indexcache {
namespace {

// The layer from which the rule counts; layers before it are full.
std::int64_t first_counted(FrequencyRule rule, std::int64_t offset) {
  switch (rule) {
    case FrequencyRule::a:
      return 1;
    case FrequencyRule::b:
      return offset - 1;
    case FrequencyRule::c:
      return 0;
    case FrequencyRule::d:
      break;
  }
  return offset;
}

}  // namespace

std::string frequency_schedule(FrequencyRule rule, std::size_t layers, std::int64_t freq,
                               std::int64_t offset) {
  const std::int64_t first = first_counted(rule, offset);
  std::string schedule;
  for (std::size_t layer = 0; layer < layers; ++layer) {
    const auto distance = std::max<std::int64_t>(static_cast<std::int64_t>(layer) - first, 0);
    schedule += distance % freq == 0 ? 'F' : 'S';
  }
  return schedule;
}

}  // namespace indexcache
