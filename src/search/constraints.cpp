// SPDX-License-Identifier: Apache-2.0
#include "search/constraints.h"

namespace indexcache {
namespace {

// `pattern` with every layer shared that is pinned so.
Pattern with_pinned_shared(Pattern pattern, const Constraints& constraints) {
  for (std::size_t layer = 1; layer < pattern.layers(); ++layer) {
    if (constraints.pinned_shared[layer]) pattern = pattern.with_shared(layer);
  }
  return pattern;
}

// The F layer to keep behind `kept`: a pinned one within reach costs nothing, else the farthest.
std::optional<std::size_t> next_kept(const Pattern& pattern, const Constraints& constraints,
                                     std::size_t kept) {
  const std::size_t reach = constraints.max_run == 0 ? pattern.layers() : constraints.max_run + 1;
  std::optional<std::size_t> farthest;
  for (std::size_t layer = kept + 1; layer < pattern.layers() && layer <= kept + reach; ++layer) {
    if (!pattern.is_full(layer)) continue;
    farthest = layer;
    if (constraints.pinned_full[layer]) break;
  }
  return farthest;
}

bool pinned_behind(const Constraints& constraints, std::size_t layer) {
  for (std::size_t l = layer + 1; l < constraints.pinned_full.size(); ++l) {
    if (constraints.pinned_full[l]) return true;
  }
  return false;
}

}  // namespace

Constraints Constraints::none(std::size_t layers) {
  return {std::vector<bool>(layers, false), std::vector<bool>(layers, false), 0};
}

bool keeps(const Pattern& pattern, const Constraints& constraints) {
  std::size_t run = 0;
  for (std::size_t layer = 0; layer < pattern.layers(); ++layer) {
    const bool full = pattern.is_full(layer);
    if (full ? constraints.pinned_shared[layer] : constraints.pinned_full[layer]) return false;
    run = full ? 0 : run + 1;
    if (constraints.max_run > 0 && run > constraints.max_run) return false;
  }
  return true;
}

std::optional<std::size_t> fewest_full(const Pattern& pattern, const Constraints& constraints) {
  const Pattern start = with_pinned_shared(pattern, constraints);
  std::size_t count = 1;
  std::size_t kept = 0;
  for (;;) {
    const std::size_t rest = start.layers() - 1 - kept;
    const bool ends = constraints.max_run == 0 || rest <= constraints.max_run;
    if (ends && !pinned_behind(constraints, kept)) return count;
    const auto next = next_kept(start, constraints, kept);
    if (!next) return std::nullopt;
    kept = *next;
    ++count;
  }
}

SizeRange reachable_sizes(const Pattern& pattern, const Constraints& constraints) {
  std::size_t most = pattern.full_count();
  for (std::size_t layer = 0; layer < pattern.layers(); ++layer) {
    if (constraints.pinned_shared[layer] && pattern.is_full(layer)) --most;
  }
  return {*fewest_full(pattern, constraints), most};
}

std::vector<std::size_t> next_candidates(const Pattern& pattern, const Constraints& constraints,
                                         std::size_t target_full) {
  std::vector<std::size_t> layers;
  for (std::size_t layer = 1; layer < pattern.layers(); ++layer) {
    if (!pattern.is_full(layer) || constraints.pinned_full[layer]) continue;
    if (constraints.pinned_shared[layer]) return {layer};
    layers.push_back(layer);
  }
  if (constraints.max_run == 0) return layers;
  std::erase_if(layers, [&](std::size_t layer) {
    const auto fewest = fewest_full(pattern.with_shared(layer), constraints);
    return !fewest || *fewest > target_full;
  });
  return layers;
}

}  // namespace indexcache
