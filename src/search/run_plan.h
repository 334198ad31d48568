// SPDX-License-Identifier: Apache-2.0
// What a run will do, counted before it begins: sweeps, visits of layers, bytes of weights that
// move, memory. Sizes alone decide it; nothing is measured (costs.h turns counts into time).
#pragma once

#include "model/model_weights.h"
#include "search/constraints.h"
#include "search/evaluator.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

struct PlanInputs {
  const ModelConfig& config;
  const Pattern& baseline;
  const Constraints& constraints;
  std::vector<std::size_t> targets;  // numbers of F layers, falling
  const TokenSet& search;
  const TokenSet* holdout;  // null for none
  const Backend& backend;
  const WeightSizes& weights;
  Placement placement;
  EvaluatorOptions memory;  // of a sweep
};

// One or several sweeps that are alike in what they cost.
struct PlannedSweep {
  std::string name;     // "baseline", "step 3", "verification", "held-out"
  std::int64_t tokens;  // of its sequences
  std::int64_t passes;  // over the layers: waves times groups of patterns
  Visits visits;        // of the groups together, each over all tokens
  SweepPlan cut;
};

struct RunPlan {
  std::vector<PlannedSweep> sweeps;
  std::size_t steps = 0;
  std::int64_t evaluations = 0;             // of candidates in the search
  std::int64_t stream_layers = 0;           // of the search, prefixes shared
  std::int64_t unshared_stream_layers = 0;  // had every candidate been evaluated alone
  std::int64_t passes = 0;                  // over the layers, of the whole run
  std::int64_t streamed_bytes = 0;          // of weights that come to the device again and again
  std::int64_t weight_bytes = 0;            // on the device
  std::array<std::int64_t, kMemoryKinds> sweep_bytes{};  // of the sweep that takes most
  std::int64_t host_weight_bytes = 0;                    // images that wait, or are under way
  std::int64_t host_token_bytes = 0;
  std::int64_t disk_bytes = 0;  // of the run folder, about
  bool fits = true;
  std::string tight;  // the first sweep that does not fit

  std::int64_t device_bytes() const;
  std::int64_t host_bytes() const { return host_weight_bytes + host_token_bytes; }
};

// Which layer a step removes is not known: the middle one of its candidates stands for it.
RunPlan plan_run(const PlanInputs& inputs);

}  // namespace indexcache
