// SPDX-License-Identifier: Apache-2.0
#include "search/run_plan.h"

#include "search/baselines.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace indexcache {
namespace {

// Index sets of all layers that a sweep keeps for the overlap, as overlap_pass.cpp keeps them.
std::int64_t kept_row_bytes(const ModelConfig& config, std::int64_t step) {
  return 4 * config.index_topk * config.layers / step + 1;
}

class Planner {
 public:
  explicit Planner(const PlanInputs& inputs) : in_(inputs) {}

  RunPlan plan() {
    baseline();
    search();
    for (std::size_t t = 0; t < in_.targets.size(); ++t) {
      add("verification", {pattern_at(in_.targets[t])}, in_.search, 0);
    }
    if (in_.holdout != nullptr) held_out();
    memory();
    return std::move(plan_);
  }

 private:
  SweepPlan cut(std::size_t patterns, const TokenSet& tokens, std::int64_t kept) const {
    return plan_sweep({in_.config, in_.backend, tokens, patterns, kept}, in_.memory.memory_bytes,
                      std::min(in_.memory.memory_bytes, in_.memory.wave_bytes));
  }

  const PlannedSweep& add(const std::string& name, const std::vector<Pattern>& patterns,
                          const TokenSet& tokens, std::int64_t kept) {
    PlannedSweep sweep{name, tokens.tokens(), 0, {}, cut(patterns.size(), tokens, kept)};
    for (std::size_t p = 0; p < patterns.size(); p += sweep.cut.patterns) {
      const auto group =
          std::span(patterns).subspan(p, std::min(sweep.cut.patterns, patterns.size() - p));
      const Visits visits = count_visits(group, in_.config.moe_layer);
      for (std::size_t kind = 0; kind < visits.counts.size(); ++kind) {
        for (std::size_t v = 0; v < kVisits; ++v) {
          sweep.visits.counts[kind][v] += visits.counts[kind][v];
        }
      }
      sweep.passes += static_cast<std::int64_t>(sweep.cut.waves.size());
    }
    plan_.passes += sweep.passes;
    if (!sweep.cut.fits && plan_.fits) {
      plan_.fits = false;
      plan_.tight = name;
    }
    plan_.sweeps.push_back(std::move(sweep));
    return plan_.sweeps.back();
  }

  void baseline() {
    std::int64_t step = 1;
    while (step < in_.search.longest() &&
           !cut(1, in_.search, kept_row_bytes(in_.config, step)).fits) {
      step *= 2;
    }
    add("baseline and overlap", {in_.baseline}, in_.search, kept_row_bytes(in_.config, step));
  }

  void search() {
    path_ = {in_.baseline};
    const std::size_t target = in_.targets.back();
    while (path_.back().full_count() > target) {
      const Pattern& before = path_.back();
      const auto layers = next_candidates(before, in_.constraints, target);
      std::vector<Pattern> candidates;
      for (const std::size_t layer : layers) candidates.push_back(before.with_shared(layer));
      const PlannedSweep& sweep =
          add(fmt::format("step {}", path_.size()), candidates, in_.search, 0);
      ++plan_.steps;
      plan_.evaluations += static_cast<std::int64_t>(candidates.size());
      plan_.stream_layers += sweep.visits.stream_layers();
      plan_.unshared_stream_layers +=
          static_cast<std::int64_t>(candidates.size()) * in_.config.layers;
      path_.push_back(before.with_shared(layers[layers.size() / 2]));
    }
  }

  void held_out() {
    std::vector<Pattern> patterns = {in_.baseline};
    for (const std::size_t full : in_.targets) {
      patterns.push_back(pattern_at(full));
      patterns.push_back(uniform_of_size(in_.baseline, full));
    }
    add("held-out sequences", patterns, *in_.holdout, 0);
  }

  const Pattern& pattern_at(std::size_t full) const {
    return path_[in_.baseline.full_count() - full];
  }

  void memory() {
    const bool resident = in_.placement == Placement::resident;
    plan_.streamed_bytes = resident ? 0 : plan_.passes * in_.weights.stored;
    plan_.weight_bytes = in_.weights.device(in_.placement) + in_.backend.uploader_bytes();
    for (const PlannedSweep& sweep : plan_.sweeps) {
      const auto most =
          std::accumulate(plan_.sweep_bytes.begin(), plan_.sweep_bytes.end(), std::int64_t{0});
      if (sweep.cut.total() > most) plan_.sweep_bytes = sweep.cut.bytes;
    }
    plan_.host_weight_bytes = in_.weights.host(in_.placement);
    plan_.host_token_bytes =
        4 * (in_.search.tokens() + (in_.holdout != nullptr ? in_.holdout->tokens() : 0));
    // A loss of a candidate in the journal, a report, and two matrices a position bucket.
    const auto sequences = static_cast<std::int64_t>(in_.search.sequences.size());
    plan_.disk_bytes = 26 * plan_.evaluations * sequences + (std::int64_t{1} << 20) +
                       16 * 8 * in_.config.layers * in_.config.layers;
  }

  const PlanInputs& in_;
  RunPlan plan_;
  std::vector<Pattern> path_;
};

}  // namespace

std::int64_t RunPlan::device_bytes() const {
  return std::accumulate(sweep_bytes.begin(), sweep_bytes.end(), weight_bytes);
}

RunPlan plan_run(const PlanInputs& inputs) {
  return Planner(inputs).plan();
}

}  // namespace indexcache
