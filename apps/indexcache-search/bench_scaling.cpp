// SPDX-License-Identifier: Apache-2.0
// bench search on several devices: how much faster the candidates of one step are measured.
#include "bench.h"
#include "core/console.h"
#include "core/error.h"

#include <chrono>

namespace indexcache {
namespace {

struct ScaledStep {
  double seconds;
  double idle_share;
  std::vector<SequenceLosses> losses;
};

ScaledStep time_step(BenchModel& model, const TokenSet& tokens, std::span<const Pattern> patterns,
                     std::size_t devices) {
  SpreadUse use;
  SpreadEvaluator evaluator = model.evaluator(tokens, devices, use);
  evaluator.losses(patterns);  // what is done once: algorithms, layouts, memory, first weights
  for (WorkerUse& worker : use.workers) worker.busy_seconds = 0;
  use.seconds = 0;
  std::vector<SequenceLosses> losses = evaluator.losses(patterns);
  return {use.seconds, use.idle_share(), std::move(losses)};
}

}  // namespace

Json bench_scaling(BenchModel& model, const TokenSet& tokens, std::span<const Pattern> patterns,
                   bool json) {
  if (model.devices() == 1) return nullptr;
  Json rows = Json::array();
  const ScaledStep one = time_step(model, tokens, patterns, 1);
  for (std::size_t devices = 1; devices <= model.devices(); ++devices) {
    const ScaledStep step = devices == 1 ? one : time_step(model, tokens, patterns, devices);
    if (step.losses != one.losses && !is_mixed(model.kinds())) {
      throw InternalError({"several devices give other losses than one", model.backend().name(), "",
                           "report it with the command line"});
    }
    const double speed_up = one.seconds / step.seconds;
    rows.push_back(Json{{"devices", devices},
                        {"seconds", step.seconds},
                        {"speed_up", speed_up},
                        {"idle_share", step.idle_share}});
    if (json) continue;
    write_output("  {} device{}: step 1 in {:.3f} s, {:.2f} times as fast, idle {:.0f}%\n", devices,
                 devices == 1 ? "" : "s", step.seconds, speed_up, 100 * step.idle_share);
  }
  return rows;
}

}  // namespace indexcache
