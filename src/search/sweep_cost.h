// SPDX-License-Identifier: Apache-2.0
// What a part of a request takes on one device: how requests are cut and dealt.
#pragma once

#include "search/costs.h"
#include "search/sweep_plan.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>

namespace indexcache {

struct SweepEstimate {
  double seconds = 0;
  std::size_t visits = 0;  // units of progress, as SweepEvaluator counts them
};

// Where estimates come from.
struct SweepRates {
  std::function<Costs(std::int64_t length)> costs;  // of a sequence of so many tokens
  double pass_seconds = 0;                          // to bring all weights to the device again
};

class SweepCost {
 public:
  // `planner` must outlive the object.
  SweepCost(const SweepPlanner& planner, SweepRates rates);

  // `patterns` and `sequences` in one request: the visits of the groups that share prefixes, or the
  // time that streaming takes if that is longer.
  SweepEstimate of(std::span<const Pattern> patterns, std::span<const std::size_t> sequences);

 private:
  const Costs& costs_of(std::size_t sequence);

  const SweepPlanner& planner_;
  SweepRates rates_;
  std::map<std::int64_t, Costs> known_;  // by length
};

}  // namespace indexcache
