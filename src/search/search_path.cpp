// SPDX-License-Identifier: Apache-2.0
#include "search/search_path.h"

namespace indexcache {

const Considered* runner_up(const PathStep& step) {
  const Considered* second = nullptr;
  for (const Considered& considered : step.considered) {
    if (considered.pattern == step.pattern) continue;
    if (second == nullptr || considered.loss < second->loss) second = &considered;
  }
  return second;
}

std::vector<std::size_t> newly_shared(const Pattern& before, const Pattern& after) {
  std::vector<std::size_t> layers;
  for (std::size_t layer = 0; layer < before.layers(); ++layer) {
    if (before.is_full(layer) && !after.is_full(layer)) layers.push_back(layer);
  }
  return layers;
}

}  // namespace indexcache
