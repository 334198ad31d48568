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

// What requests take, one after another.
struct DealtSweeps {
  double seconds = 0;
  double busy = 0;         // of all devices together
  double longest = 0;      // of one pattern on one sequence each: no cut is shorter
  std::size_t passes = 0;  // over the layers, of all devices together

  void add(std::span<const CutTask> tasks, std::size_t devices) {
    for (const CutTask& task : tasks) {
      busy += task.estimate.seconds;
      passes += task.estimate.passes;
    }
    seconds += spread_seconds(tasks, devices);
  }
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

  // All requests but those of a refinement, which a plan's time does not contain either, on each
  // number of devices.
  std::vector<DealtSweeps> on(std::span<const std::size_t> devices) const {
    std::vector<DealtSweeps> all(devices.size());
    SweepCost search(search_, rates_), holdout(holdout_, rates_);
    for (const CountedSweep& sweep : plan_.work.sweeps) {
      if (sweep.phase == Phase::refinement) continue;
      SweepCost& cost = sweep.phase == Phase::holdout ? holdout : search;
      SweepCutter cutter(sweep.patterns, sweep.sequences, cost);
      const double longest = longest_evaluation(sweep, cost);
      for (std::size_t i = 0; i < devices.size(); ++i) {
        all[i].add(cutter.cut(devices[i]), devices[i]);
        all[i].longest += longest;
      }
    }
    return all;
  }

  // What does not depend on the number of devices.
  double fixed_seconds() const { return plan_.time.once + plan_.time.first_load; }
  double pass_seconds() const { return rates_.pass_seconds; }

 private:
  static double longest_evaluation(const CountedSweep& sweep, SweepCost& cost) {
    const PatternWork one = cost.work_of(std::span(sweep.patterns).first(1));
    double longest = 0;
    for (const std::size_t s : sweep.sequences) {
      longest = std::max(longest, cost.of(one, std::span(&s, 1)).seconds);
    }
    return longest;
  }

  const RunPlan& plan_;
  const Model& model_;
  SweepMemory memory_;
  SweepPlanner search_;
  SweepPlanner holdout_;
  SweepRates rates_;
};

std::string limit_of(const ScaledRun& run, const DealtSweeps& last, std::size_t requests) {
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
  const std::vector<DealtSweeps> dealt = run.on(devices);
  Scaling scaling;
  scaling.fixed_seconds = run.fixed_seconds();
  for (std::size_t i = 0; i < devices.size(); ++i) {
    const std::size_t count = devices[i];
    const DealtSweeps& all = dealt[i];
    const std::int64_t loads = plan.streamed_bytes > 0 ? static_cast<std::int64_t>(all.passes)
                                                       : static_cast<std::int64_t>(count);
    const double available = all.seconds * static_cast<double>(count);
    scaling.times.push_back({count, run.fixed_seconds() + all.seconds,
                             available > 0 ? std::max(1 - all.busy / available, 0.0) : 0.0,
                             loads * plan.weights.stored});
  }
  scaling.ends_at = scaling.times.front().devices;
  for (std::size_t i = 1; i < scaling.times.size(); ++i) {
    if (scaling.times[i].seconds > scaling.times[i - 1].seconds * (1 - kLeastGain)) break;
    scaling.ends_at = scaling.times[i].devices;
  }
  scaling.limit = limit_of(run, dealt.back(), plan.work.sweeps.size());
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
  return {{"times", times},
          {"fixed_seconds", scaling.fixed_seconds},
          {"ends_at", scaling.ends_at},
          {"limit", scaling.limit}};
}

}  // namespace indexcache
