// SPDX-License-Identifier: Apache-2.0
// What a search strategy did: the patterns it went through and those that it compared them with.
#pragma once

#include "core/pattern.h"

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// The value of the objective on every sequence (of the loss: mean negative log-likelihood), in nats
// per token, in the order of the token set.
using SequenceLosses = std::vector<double>;

// A pattern that a strategy asked about.
struct Considered {
  Pattern pattern;
  double loss;  // mean over all tokens; an estimate if sequences are missing
  SequenceLosses losses;
  // Those that `losses` are of; empty: all. A pattern that left a race was not measured on all.
  std::vector<std::size_t> sequences = {};

  bool complete() const { return sequences.empty(); }
  bool operator==(const Considered&) const = default;
};

// A pattern that a strategy moved to. Successive steps need not be nested.
struct PathStep {
  Pattern pattern;
  double loss;                         // mean over all tokens
  std::vector<Considered> considered;  // what it was chosen from, itself included

  bool operator==(const PathStep&) const = default;
};

// The patterns that one move leads to from where a refinement ended.
struct Neighborhood {
  std::size_t patterns = 0;
  // Those that were measured; the others were predicted to be worse by more than predictions err.
  std::vector<Considered> considered = {};

  bool operator==(const Neighborhood&) const = default;
};

struct SearchPath {
  std::string method;  // the strategy's name: "segments", "greedy", "swap"
  Pattern start;
  std::vector<PathStep> steps;
  // Patterns measured to decide where to go, which no step compares: those of single segments.
  std::vector<Considered> measured = {};
  std::optional<Neighborhood> neighborhood = std::nullopt;  // of the end of a refinement

  bool operator==(const SearchPath&) const = default;
};

// Calls visit(considered) with every pattern that the path measured.
template <class Visit>
void for_each_considered(const SearchPath& path, const Visit& visit) {
  for (const Considered& considered : path.measured) visit(considered);
  for (const PathStep& step : path.steps) {
    for (const Considered& considered : step.considered) visit(considered);
  }
  if (!path.neighborhood) return;
  for (const Considered& considered : path.neighborhood->considered) visit(considered);
}

// The considered pattern of least loss that is not the chosen one and was measured on all
// sequences; null if there is none. The first of equals wins.
const Considered* runner_up(const PathStep& step);

// How many evaluations of a pattern on all `sequences` the measured losses of these amount to.
double evaluations_of(const std::vector<Considered>& patterns, std::size_t sequences);

// Layers that are F in `before` and S in `after`, ascending.
std::vector<std::size_t> newly_shared(const Pattern& before, const Pattern& after);

}  // namespace indexcache
