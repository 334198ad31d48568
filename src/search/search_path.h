// SPDX-License-Identifier: Apache-2.0
// What a search strategy did: the patterns it went through and those that it compared them with.
#pragma once

#include "core/pattern.h"

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// Mean negative log-likelihood of every sequence, in nats per token, in the order of the token set.
using SequenceLosses = std::vector<double>;

// A pattern that a strategy asked about.
struct Considered {
  Pattern pattern;
  double loss;  // mean over all tokens
  SequenceLosses losses;

  bool operator==(const Considered&) const = default;
};

// A pattern that a strategy moved to. Successive steps need not be nested.
struct PathStep {
  Pattern pattern;
  double loss;                         // mean over all tokens
  std::vector<Considered> considered;  // what it was chosen from, itself included

  bool operator==(const PathStep&) const = default;
};

struct SearchPath {
  std::string method;  // the strategy's name: "greedy", "swap"
  Pattern start;
  std::vector<PathStep> steps;

  bool operator==(const SearchPath&) const = default;
};

// Receives the steps of a strategy as they are taken. What it has received stays valid if the
// search ends early.
using StepSink = std::function<void(PathStep)>;

// The considered pattern of least loss that is not the chosen one; null if there is none. The first
// of equals wins.
const Considered* runner_up(const PathStep& step);

// Layers that are F in `before` and S in `after`, ascending.
std::vector<std::size_t> newly_shared(const Pattern& before, const Pattern& after);

}  // namespace indexcache
