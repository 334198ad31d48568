// SPDX-License-Identifier: Apache-2.0
// bench prefill: a whole forward pass for some patterns, split by component.
#include "bench.h"
#include "core/console.h"
#include "pattern_spec.h"
#include "search/sweep_evaluator.h"

#include <fmt/format.h>

#include <numeric>

namespace indexcache {
namespace {

struct Timing {
  double seconds;  // without the loss, which a prefill does not compute
  ComponentSeconds components;
};

Timing time_pattern(BenchModel& model, Evaluator& evaluator, const Pattern& pattern, int repeat) {
  const auto body = [&] { evaluator.losses(std::span(&pattern, 1)); };
  const double whole = median_seconds(model.backend(), repeat, body);
  Timing timing{whole, median_components(model.backend(), repeat, body)};
  const double counted = std::accumulate(timing.components.begin(), timing.components.end(), 0.0);
  double& other = timing.components[static_cast<std::size_t>(Component::other)];
  other += std::max(whole - counted, 0.0);  // gaps between operations
  timing.seconds -= timing.components[static_cast<std::size_t>(Component::loss)];
  return timing;
}

}  // namespace

Json bench_prefill(BenchModel& model, const BenchOptions& options, bool json) {
  Json results = Json::array();
  for (const std::int64_t context : options.contexts) {
    const TokenSet tokens = random_tokens(model.config(), options.sequences, context);
    SweepEvaluator evaluator(model.config(), model.weights(), model.backend(), tokens,
                             model.memory());
    double first = 0;
    if (!json) {
      write_output("context {}\n  {:<14} {:>9} {:>7}", context, "pattern", "ms", "speed");
      for (const std::string_view name : kComponentNames) write_output(" {:>16}", name);
      write_output("\n");
    }
    const std::vector<std::string> dense = {std::string(kDense)};
    for (const std::string& spec : model.config().dense ? dense : options.patterns) {
      const Pattern pattern = model.pattern(spec);
      const Timing timing = time_pattern(model, evaluator, pattern, options.repeat);
      if (first == 0) first = timing.seconds;
      Json components = Json::object();
      for (std::size_t s = 0; s < kComponents; ++s) {
        components[std::string(kComponentNames[s])] = timing.components[s] * 1e3;
      }
      results.push_back({{"context", context},
                         {"pattern", model.config().dense ? spec : pattern.text()},
                         {"full_layers", model.config().dense ? 0 : pattern.full_count()},
                         {"milliseconds", timing.seconds * 1e3},
                         {"speed_up", first / timing.seconds},
                         {"component_milliseconds", components}});
      if (json) continue;
      write_output("  {:<14} {:>9.1f} {:>6.2f}x", spec, timing.seconds * 1e3,
                   first / timing.seconds);
      for (std::size_t s = 0; s < kComponents; ++s)
        write_output(" {:>16.1f}", timing.components[s] * 1e3);
      write_output("\n");
      flush_output();
    }
    results.back()["memory"] = model.memory_report(evaluator.planner().plan(1).total(), json);
  }
  return results;
}

}  // namespace indexcache
