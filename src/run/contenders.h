// SPDX-License-Identifier: Apache-2.0
// How the chosen pattern of a target compares with the others that the searches measured.
#pragma once

#include "result/result.h"
#include "search/evaluator.h"

#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// A pattern that was reached, and the method that reached it.
struct Reached {
  PathStep step;
  std::string method;
};

// The best pattern with `full` F layers that the paths of `method` (empty: of any) went through,
// the earliest of equals; nullopt if there is none.
std::optional<Reached> best_reached(const std::vector<SearchPath>& paths, std::size_t full,
                                    const std::string& method = "");

// Adds to `target` the best pattern of each of `strategies`, and all patterns of its size that were
// measured on all sequences and that the data cannot tell from the chosen one. `chosen`:
// losses of the chosen pattern as the search measured them.
void add_contenders(Target& target, const std::vector<SearchPath>& paths,
                    const std::vector<std::string>& strategies, const SequenceLosses& chosen,
                    const std::vector<double>& weights);

}  // namespace indexcache
