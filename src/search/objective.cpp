// SPDX-License-Identifier: Apache-2.0
#include "search/objective.h"

#include <algorithm>

namespace indexcache {

std::optional<Objective> find_objective(std::string_view name) {
  const auto found = std::ranges::find(kObjectiveNames, name);
  if (found == kObjectiveNames.end()) return std::nullopt;
  return static_cast<Objective>(found - kObjectiveNames.begin());
}

}  // namespace indexcache
