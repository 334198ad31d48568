// SPDX-License-Identifier: Apache-2.0
// Search strategies: functions that ask an Evaluator for losses and report where they went.
//
// A strategy decides only from the losses that it is given. An interrupted run repeats it, and the
// losses that were measured before are answered from the journal.
#pragma once

#include "search/constraints.h"
#include "search/evaluator.h"
#include "search/race.h"

#include <concepts>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace indexcache {

// The patterns that may be looked at.
struct SearchSpace {
  Pattern start;  // F at every layer that may stay F; layers without an indexer are S
  Constraints constraints;
  std::vector<std::size_t> targets;               // numbers of F layers that are wanted, falling
  std::optional<RaceRules> races = std::nullopt;  // nullopt: every pattern sees every sequence

  // Whether a pattern keeps the constraints and is F only where `start` is.
  bool holds(const Pattern& pattern) const;
};

// Receives what a search finds as it finds it; that stays valid if the search ends early.
class SearchSink {
 public:
  using Step = std::function<void(PathStep)>;
  using Measured = std::function<void(std::vector<Considered>)>;
  using Ended = std::function<void(Neighborhood)>;

  template <std::invocable<PathStep> F>
  SearchSink(F step) : step_(std::move(step)) {}  // NOLINT: a sink of steps is written as a lambda
  SearchSink(Step step, Measured measured, Ended ended)
      : step_(std::move(step)), measured_(std::move(measured)), ended_(std::move(ended)) {}

  void step(PathStep step) const { step_(std::move(step)); }
  // Patterns that the search measured to decide where to go.
  void measured(std::vector<Considered> patterns) const {
    if (measured_) measured_(std::move(patterns));
  }
  // Where a refinement found nothing better.
  void ended(Neighborhood neighborhood) const {
    if (ended_) ended_(std::move(neighborhood));
  }

 private:
  Step step_;
  Measured measured_;
  Ended ended_;
};

// Searches from `space.start` until every target is reached.
struct Strategy {
  std::string_view name;
  void (*search)(Evaluator& evaluator, const SearchSpace& space, const SearchSink& sink);
  bool depends_on_losses;  // how many patterns it asks for, without limits on runs of S layers
  bool races_by_default;   // whether races apply to it unless they are asked for everywhere
};

// Where a refinement begins, and what is known about the patterns around it.
struct RefinementStart {
  PathStep from;
  // The loss that is predicted for a pattern, nullopt if it cannot be; empty without predictions.
  std::function<std::optional<double>(const Pattern&)> predict = {};
  // The largest difference between predicted and measured losses so far.
  double prediction_error = 0;
};

// Improves a pattern without changing its number of F layers; each step has a smaller loss than
// the one before it.
struct Refinement {
  std::string_view name;
  void (*refine)(Evaluator& evaluator, const SearchSpace& space, const RefinementStart& start,
                 const SearchSink& sink);
};

// What `run` offers. Strategies run in this order.
std::span<const Strategy> strategies();
// All of them.
std::vector<std::string> default_strategies();
std::span<const Refinement> refinements();

// Whether races apply to a strategy or refinement unless they are asked for everywhere; true for an
// unknown name.
bool races_by_default(std::string_view method);

// Null for an unknown name.
const Refinement* find_refinement(std::string_view name);

// Measures `candidates` (at least one) in a race and takes the one with the smallest mean, the
// first among equals. `reference`: values of any pattern on all sequences, from which those of
// candidates that left are estimated; may be empty without rules.
PathStep race_for_best(Evaluator& evaluator, const std::optional<RaceRules>& rules,
                       std::vector<Pattern> candidates, const SequenceLosses& reference);
// The same of candidates that were all measured on all sequences.
PathStep best_of(const Evaluator& evaluator, std::span<const Pattern> candidates,
                 std::span<const SequenceLosses> losses);

}  // namespace indexcache
