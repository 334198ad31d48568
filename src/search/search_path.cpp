// SPDX-License-Identifier: Apache-2.0
#include "search/search_path.h"

namespace indexcache {

const Considered* runner_up(const PathStep& step) {
  const Considered* second = nullptr;
  for (const Considered& considered : step.considered) {
    if (considered.pattern == step.pattern || !considered.complete()) continue;
    if (second == nullptr || considered.loss < second->loss) second = &considered;
  }
  return second;
}

double evaluations_of(const std::vector<Considered>& patterns, std::size_t sequences) {
  std::size_t losses = 0;
  for (const Considered& considered : patterns) losses += considered.losses.size();
  return static_cast<double>(losses) / static_cast<double>(sequences);
}

std::vector<std::size_t> newly_shared(const Pattern& before, const Pattern& after) {
  std::vector<std::size_t> layers;
  for (std::size_t layer = 0; layer < before.layers(); ++layer) {
    if (before.is_full(layer) && !after.is_full(layer)) layers.push_back(layer);
  }
  return layers;
}

}  // namespace indexcache
