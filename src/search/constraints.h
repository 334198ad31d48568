// SPDX-License-Identifier: Apache-2.0
// What deployment asks of a pattern beyond its number of F layers.
#pragma once

#include "core/pattern.h"

#include <cstddef>
#include <optional>
#include <vector>

namespace indexcache {

struct Constraints {
  std::vector<bool> pinned_full;    // [L] layers that stay F
  std::vector<bool> pinned_shared;  // [L] layers that the search shares first of all
  std::size_t max_run = 0;          // longest run of S layers; 0: any

  static Constraints none(std::size_t layers);

  bool operator==(const Constraints&) const = default;
};

// Whether `pattern` is F where it is pinned full, S where it is pinned shared, and has no longer
// run of S layers than max_run.
bool keeps(const Pattern& pattern, const Constraints& constraints);

// The fewest F layers that sharing more layers of `pattern` can lead to; nullopt where a run of S
// layers is longer than max_run however the search goes on. Layer 0 always stays F.
std::optional<std::size_t> fewest_full(const Pattern& pattern, const Constraints& constraints);

// Numbers of F layers that a search which shares layers of `pattern` can lead to, once all layers
// that are pinned to S are shared. Requires that fewest_full is not nullopt.
struct SizeRange {
  std::size_t fewest;
  std::size_t most;
};
SizeRange reachable_sizes(const Pattern& pattern, const Constraints& constraints);

// Layers that the next step on the way to `target_full` F layers may share, ascending: F, neither
// layer 0 nor pinned, and leaving a way to the target open. While a layer that is pinned to S is
// still F, the lowest of them alone.
std::vector<std::size_t> next_candidates(const Pattern& pattern, const Constraints& constraints,
                                         std::size_t target_full);

}  // namespace indexcache
