// SPDX-License-Identifier: Apache-2.0
// What sweeps cost, counted from sizes: visits of layers, passes over the weights, memory.
#pragma once

#include "search/sweep_plan.h"
#include "search/visits.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace indexcache {

// Parts of a run, in their order.
enum class Phase { baseline, search, refinement, stability, verification, holdout };
inline constexpr std::array<std::string_view, 6> kPhaseNames = {
    "baseline and overlap", "search",       "refinement",
    "stability check",      "verification", "held-out sequences"};

// A phase, and in the search and its refinement the method that asks.
struct WorkPart {
  Phase phase = Phase::baseline;
  std::string_view method = {};  // of the tables in search/strategy.cpp
};

// One request, as the evaluator cuts it.
struct CountedSweep {
  Phase phase;
  std::size_t evaluations;  // patterns
  std::int64_t tokens;      // of its sequences
  std::int64_t passes;      // over the layers: waves times groups of patterns
  Visits visits;            // of the groups together, each over all tokens
  SweepPlan cut;
  std::string_view method = {};  // as in WorkPart
  double share = 1;              // `tokens` of those of all sequences
  // What was asked for.
  std::vector<Pattern> patterns = {};
  std::vector<std::size_t> sequences = {};
};

struct Workload {
  std::vector<CountedSweep> sweeps;

  std::int64_t passes() const;
  // Of one method if it is named. A sweep over some of the sequences counts in proportion to their
  // tokens; sums are rounded up.
  std::int64_t evaluations(Phase phase, std::string_view method = {}) const;
  std::int64_t layer_visits(Phase phase, std::string_view method = {}) const;
  // Bytes of the sweep that holds most, by kind; weights are not counted.
  std::array<std::int64_t, kMemoryKinds> most_bytes() const;
  std::int64_t most_bytes_total() const;
  std::size_t most_waves() const;
  // The first sweep that does not fit however it is cut; null if all do.
  const CountedSweep* tight() const;
};

// `kept_row_bytes` as in SweepPlanner::plan.
CountedSweep count_sweep(const SweepPlanner& planner, Phase phase,
                         std::span<const Pattern> patterns, std::span<const std::size_t> sequences,
                         std::int64_t kept_row_bytes = 0);

}  // namespace indexcache
