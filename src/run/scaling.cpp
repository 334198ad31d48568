// SPDX-License-Identifier: Apache-2.0
#include "run/scaling.h"

#include "core/thread_count.h"
#include "run/plan.h"
#include "run/session.h"
#include "search/sweep_cut.h"

#include <algorithm>
#include <functional>

namespace indexcache {
namespace {

constexpr double kLeastGain = 0.1;

// What one request takes.
struct DealtSweep {
  double seconds = 0;
  double busy = 0;         // of all devices together
  double longest = 0;      // of one pattern on one sequence: no cut is shorter
  std::size_t passes = 0;  // over the layers, of all devices together
};

class ScaledRun {
 public:
  ScaledRun(const RunPlan& plan, const Model& model, const SearchSubject& subject,
            const Device& backend)
      : plan_(plan),
        model_(model),
        memory_(sweep_memory(backend, plan.weight_bytes)),
        search_(model.config, backend, subject.data.search, memory_),
        holdout_(model.config, backend,
                 subject.data.holdout ? *subject.data.holdout : subject.data.search, memory_,
                 subject.space.start),
        rates_{[&plan, &model, &backend](std::int64_t length) {
                 return costs_for(plan, model.config, std::span(&length, 1), backend);
               },
               plan.streamed_bytes > 0
                   ? plan.costs.stream_byte * static_cast<double>(plan.weights.stored)
                   : 0} {}

  // All requests but those of a refinement, which a plan's time does not contain either.
  DealtSweep on(std::size_t devices) const {
    DealtSweep all;
    for (const CountedSweep& sweep : plan_.work.sweeps) {
      if (sweep.phase == Phase::refinement) continue;
      const DealtSweep one = dealt(sweep, devices);
      all.seconds += one.seconds;
      all.busy += one.busy;
      all.longest += one.longest;
      all.passes += one.passes;
    }
    return all;
  }

  // What does not depend on the number of devices.
  double fixed_seconds() const { return plan_.time.once + plan_.time.first_load; }
  double pass_seconds() const { return rates_.pass_seconds; }

 private:
  DealtSweep dealt(const CountedSweep& sweep, std::size_t devices) const {
    SweepCost cost(sweep.phase == Phase::holdout ? holdout_ : search_, rates_);
    DealtSweep result;
    std::vector<CutTask> tasks = cut_sweep(sweep.patterns, sweep.sequences, cost, devices);
    if (devices == 1) {
      tasks.front().estimate = cost.of(cost.work_of(sweep.patterns), sweep.sequences);
    }
    for (const CutTask& task : tasks) {
      result.busy += task.estimate.seconds;
      result.passes += task.estimate.passes;
    }
    result.seconds = spread_seconds(tasks, devices);
    const PatternWork one = cost.work_of(std::span(sweep.patterns).first(1));
    for (const std::size_t s : sweep.sequences) {
      result.longest = std::max(result.longest, cost.of(one, std::span(&s, 1)).seconds);
    }
    return result;
  }

  const RunPlan& plan_;
  const Model& model_;
  SweepMemory memory_;
  SweepPlanner search_;
  SweepPlanner holdout_;
  SweepRates rates_;
};

std::string limit_of(const ScaledRun& run, const DealtSweep& last, std::size_t requests) {
  const double fixed = run.fixed_seconds();
  const double streaming = run.pass_seconds() * static_cast<double>(requests);
  if (fixed > std::max(last.longest, last.seconds - last.longest)) {
    return "starting, and reading the weights once";
  }
  if (streaming > 0.5 * last.seconds) return "bringing all weights to a device for each request";
  return "requests follow each other, and one pattern on one sequence is not divided";
}

}  // namespace

Scaling scale_run(const RunPlan& plan, const Model& model, const SearchSubject& subject,
                  const Device& backend, std::span<const std::size_t> devices) {
  const ScaledRun run(plan, model, subject, backend);
  Scaling scaling;
  DealtSweep last;
  for (const std::size_t count : devices) {
    last = run.on(count);
    const std::int64_t loads = plan.streamed_bytes > 0 ? static_cast<std::int64_t>(last.passes)
                                                       : static_cast<std::int64_t>(count);
    const double available = last.seconds * static_cast<double>(count);
    scaling.times.push_back({count, run.fixed_seconds() + last.seconds,
                             available > 0 ? std::max(1 - last.busy / available, 0.0) : 0.0,
                             loads * plan.weights.stored});
  }
  scaling.ends_at = scaling.times.front().devices;
  for (std::size_t i = 1; i < scaling.times.size(); ++i) {
    if (scaling.times[i].seconds > scaling.times[i - 1].seconds * (1 - kLeastGain)) break;
    scaling.ends_at = scaling.times[i].devices;
  }
  scaling.limit = limit_of(run, last, plan.work.sweeps.size());
  return scaling;
}

Json to_json(const Scaling& scaling) {
  Json times = Json::array();
  for (const ScaledTime& time : scaling.times) {
    times.push_back(Json{{"devices", time.devices},
                         {"seconds", time.seconds},
                         {"idle_share", time.idle_share},
                         {"link_bytes", time.link_bytes}});
  }
  return {{"times", times}, {"ends_at", scaling.ends_at}, {"limit", scaling.limit}};
}

}  // namespace indexcache
