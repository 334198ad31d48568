// SPDX-License-Identifier: Apache-2.0
// Training-free greedy search (IndexCache, arXiv 2603.12201, Algorithm 1).
#pragma once

#include "core/pattern.h"
#include "search/constraints.h"
#include "search/evaluator.h"

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

namespace indexcache {

// One layer tried as shared.
struct Candidate {
  std::size_t layer;
  SequenceLosses losses;
  double loss;  // mean over all tokens
};

struct Step {
  Pattern pattern;      // after the step
  std::size_t removed;  // layer that became shared
  double loss;
  std::optional<std::size_t> runner_up;  // second best candidate
  double margin = 0;                     // its loss minus the best; 0 without one
  std::vector<Candidate> candidates;     // ascending by layer
  double seconds = 0;                    // time the step took when it was computed
};

// The step that follows from the losses of every candidate: the smallest mean loss, the lowest
// layer among equals.
Step choose(const Pattern& before, std::vector<Candidate> candidates);

struct GreedyHooks {
  // A step that an earlier process finished, if there is one: it is not computed again.
  std::function<std::optional<Step>(std::size_t index, const Pattern& before)> replay;
  // Called with every step that was computed, before the next one begins.
  std::function<void(std::size_t index, const Step&)> record;
  // Asked before a step is computed; true ends the search with the steps that are done. May be
  // empty.
  std::function<bool(std::size_t index)> stop = {};
  // What is known of the losses of a step's candidates, and who hears of the others wave by wave.
  // May be empty.
  std::function<SweepLog(std::size_t index, const std::vector<std::size_t>& layers)> log = {};
};

// Shares one layer after another, from `start` until `target_full` layers are full: first those
// that are pinned to S, each a step with one candidate, then the best of next_candidates. Layers
// without an indexer are S in `start`. Requires fewest_full(start) <= target_full.
std::vector<Step> greedy_search(Evaluator& evaluator, const Pattern& start,
                                const Constraints& constraints, std::size_t target_full,
                                const GreedyHooks& hooks);

}  // namespace indexcache
