// SPDX-License-Identifier: Apache-2.0
#include "search/objective.h"

#include <algorithm>

namespace indexcache {

std::optional<Objective> find_objective(std::string_view name) {
  const auto found = std::ranges::find(kObjectiveNames, name);
  if (found == kObjectiveNames.end()) return std::nullopt;
  return static_cast<Objective>(found - kObjectiveNames.begin());
}

std::vector<double> averaged_tokens(const TokenSet& tokens, Objective objective,
                                    std::int64_t first_selecting) {
  std::vector<double> counts = tokens.predicted();
  if (objective != Objective::tail) return counts;
  for (double& count : counts) count = std::max(count - static_cast<double>(first_selecting), 0.0);
  return counts;
}

}  // namespace indexcache
