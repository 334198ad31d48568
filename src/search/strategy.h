// SPDX-License-Identifier: Apache-2.0
// Search strategies: functions that ask an Evaluator for losses and report where they went.
//
// A strategy decides only from the losses that it is given. An interrupted run repeats it, and the
// losses that were measured before are answered from the journal.
#pragma once

#include "search/constraints.h"
#include "search/evaluator.h"

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace indexcache {

// The patterns that may be looked at.
struct SearchSpace {
  Pattern start;  // F at every layer that may stay F; layers without an indexer are S
  Constraints constraints;
  std::vector<std::size_t> targets;  // numbers of F layers that are wanted, falling

  // Whether a pattern keeps the constraints and is F only where `start` is.
  bool holds(const Pattern& pattern) const;
};

// Searches from `space.start` until every target is reached.
struct Strategy {
  std::string_view name;
  void (*search)(Evaluator& evaluator, const SearchSpace& space, const StepSink& sink);
};

// Improves a pattern without changing its number of F layers; each step has a smaller loss than
// the one before it.
struct Refinement {
  std::string_view name;
  void (*refine)(Evaluator& evaluator, const SearchSpace& space, const PathStep& from,
                 const StepSink& sink);
};

// What `run` offers; the first strategy is the default.
std::span<const Strategy> strategies();
std::span<const Refinement> refinements();

// Null for an unknown name.
const Refinement* find_refinement(std::string_view name);

// Evaluates `candidates` (at least one) and takes the one with the smallest mean loss, the first
// among equals.
PathStep best_of(Evaluator& evaluator, std::vector<Pattern> candidates);

}  // namespace indexcache
