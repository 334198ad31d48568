// SPDX-License-Identifier: Apache-2.0
// plan: evaluations, weights that move, memory, disk and time of a run, before it begins.
#include "plan.h"

#include "commands.h"
#include "core/bytes.h"
#include "core/error.h"
#include "core/host_memory.h"
#include "core/thread_count.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <numeric>

namespace indexcache {
namespace {

struct PlanOptions {
  SearchOptions search;
  bool probe = false;
};

constexpr std::size_t kMostGpus = 8;

// A run starts as this process did: tokens, headers, the driver.
const auto kProcessBegan = std::chrono::steady_clock::now();

RunTime timed(const RunPlan& plan, const Costs& costs, const WeightSizes& weights, double startup) {
  RunTime time = run_time(plan, costs, weights);
  time.once += startup;
  return time;
}

// Sequences are independent: the GPU with the most of them decides.
double seconds_on(const PlanReport& report, std::size_t gpus) {
  const auto share = static_cast<double>((report.sequences + gpus - 1) / gpus) /
                     static_cast<double>(report.sequences);
  return report.time.total() * share;
}

std::string kinds_text(const RunPlan& plan) {
  std::string text = fmt::format("weights {}", bytes_text(plan.weight_bytes));
  for (std::size_t k = 0; k < kMemoryKinds; ++k) {
    if (plan.sweep_bytes[k] > 0) {
      text += fmt::format(", {} {}", kMemoryNames[k], bytes_text(plan.sweep_bytes[k]));
    }
  }
  return text;
}

std::string range_text(const PlanReport& report) {
  const double seconds = report.time.total(), factor = 1 + report.costs.uncertainty;
  return fmt::format("{} ({} to {}; {})", format_duration(seconds),
                     format_duration(seconds / factor), format_duration(seconds * factor),
                     report.costs.source);
}

std::size_t most_waves(const RunPlan& plan) {
  std::size_t most = 0;
  for (const PlannedSweep& sweep : plan.sweeps) most = std::max(most, sweep.cut.waves.size());
  return most;
}

Json plan_json(const PlanReport& report) {
  const RunPlan& plan = report.plan;
  Json device{{"weights", plan.weight_bytes}};
  for (std::size_t k = 0; k < kMemoryKinds; ++k) {
    const std::string name(kMemoryNames[k]);
    device[name] = (name == "weights" ? plan.weight_bytes : 0) + plan.sweep_bytes[k];
  }
  Json visits = Json::object();
  for (std::size_t v = 0; v < kVisits; ++v) {
    visits[std::string(kVisitNames[v])] = report.time.compute[v];
  }
  Json gpus = Json::object();
  for (std::size_t n = 1; n <= kMostGpus; ++n) gpus[std::to_string(n)] = seconds_on(report, n);
  return {{"schema", "indexcache-plan/1"},
          {"steps", plan.steps},
          {"evaluations", plan.evaluations},
          {"layer_visits", plan.stream_layers},
          {"layer_visits_without_sharing", plan.unshared_stream_layers},
          {"passes", plan.passes},
          {"most_waves", most_waves(plan)},
          {"weights", name_of(report.placement)},
          {"streamed_bytes", plan.streamed_bytes},
          {"device_bytes", plan.device_bytes()},
          {"device_limit_bytes", report.device_limit},
          {"device_bytes_by_kind", device},
          {"host_bytes", plan.host_bytes()},
          {"host_bytes_by_kind",
           {{"weights", plan.host_weight_bytes}, {"tokens", plan.host_token_bytes}}},
          {"disk_bytes", plan.disk_bytes},
          {"fits", plan.fits},
          {"seconds", report.time.total()},
          {"seconds_by_visit", visits},
          {"seconds_once", report.time.once},
          {"seconds_first_load", report.time.first_load},
          {"seconds_streaming", report.time.streaming},
          {"dominating", report.time.dominating()},
          {"costs", report.costs.source},
          {"uncertainty", report.costs.uncertainty},
          {"seconds_by_gpus", gpus}};
}

void print_plan(const PlanReport& report) {
  const RunPlan& plan = report.plan;
  const auto row = [](const char* name, const std::string& text) {
    fmt::print("{:<9} {}\n", name, text);
  };
  for (const std::string& line : plan_lines(report)) {
    const std::size_t end = line.find(": ");
    row(line.substr(0, end).c_str(), line.substr(end + 2));
  }
  row("disk", "about " + bytes_text(plan.disk_bytes));
  std::string gpus;
  for (const std::size_t n : {1, 2, 4, 8}) {
    gpus +=
        fmt::format("{}{} {}", gpus.empty() ? "" : ", ", n, format_duration(seconds_on(report, n)));
  }
  row("GPUs", gpus + " (sequences dealt over them; this version runs on one)");
}

// The folder's model, or what its config.json alone implies.
Model model_to_plan(const PlanOptions& options, Progress& progress) {
  const EngineOptions& engine = options.search.engine;
  if (!is_config_alone(engine.model)) return open_model(engine.model, engine.mla_norm_eps);
  if (options.probe) {
    throw InputError({"there are no weights to measure", engine.model,
                      "the folder holds config.json alone", "plan without --probe"});
  }
  progress.note("no weights are there: sizes are those that config.json implies");
  return expect_model(engine.model, engine.mla_norm_eps);
}

int run_plan(const PlanOptions& options, const CommonOptions& common) {
  const EngineOptions& engine = options.search.engine;
  std::unique_ptr<Backend> backend = make_backend(engine);
  Progress progress(progress_style(engine.progress, common));
  const Model model = model_to_plan(options, progress);
  const SearchSubject subject = open_subject(options.search, model, *backend, progress);
  PlanReport report = make_plan(model, subject, *backend, engine);
  if (options.probe && report.plan.fits) probe(report, model, subject, *backend);
  progress.clear();
  if (common.json) fmt::print("{}\n", plan_json(report).dump(1));
  if (!common.json) print_plan(report);
  check_fits(report, subject);
  return 0;
}

}  // namespace

PlanReport make_plan(const Model& model, const SearchSubject& subject, const Backend& backend,
                     const EngineOptions& engine) {
  const CalibrationData& data = subject.data;
  const WeightSizes weights =
      weight_sizes(model.config, model.checkpoint, model.has_indexer, backend.activation());
  std::vector<std::size_t> full;
  for (const Request& target : subject.targets) full.push_back(target.full);
  const auto planned = [&](Placement placement) {
    const std::int64_t weight_bytes = weights.device(placement) + backend.uploader_bytes();
    return plan_run({model.config, subject.baseline, subject.constraints, full, data.search,
                     data.holdout ? &*data.holdout : nullptr, backend, weights, placement,
                     sweep_memory(backend, weight_bytes)});
  };
  Placement placement = placement_for(engine, weights, backend);
  RunPlan plan = planned(placement);
  // Weights that stay may leave too little for the longest sequence.
  if (engine.weights == "auto" && !plan.fits && placement == Placement::resident) {
    placement = choose_placement(weights, 0, available_host_bytes());
    plan = planned(placement);
  }
  PlanReport report{
      .plan = std::move(plan),
      .placement = placement,
      .weights = weights,
      .device_limit = backend.memory_bytes(),
      .host_limit = available_host_bytes(),
      .costs = estimated_costs(model.config, data.search, backend, thread_count(engine.threads)),
      .time = {},
      .sequences = data.search.sequences.size(),
      .startup_seconds = 0};
  const std::chrono::duration<double> startup = std::chrono::steady_clock::now() - kProcessBegan;
  report.startup_seconds = startup.count();
  report.time = timed(report.plan, report.costs, weights, report.startup_seconds);
  return report;
}

void probe(PlanReport& report, const Model& model, const SearchSubject& subject, Backend& backend) {
  report.costs = measured_costs(model.config, model.checkpoint, model.has_indexer, backend,
                                report.placement, subject.data.search, report.plan,
                                sweep_memory(backend, report.plan.weight_bytes));
  report.time = timed(report.plan, report.costs, report.weights, report.startup_seconds);
}

std::vector<std::string> plan_lines(const PlanReport& report) {
  const RunPlan& plan = report.plan;
  const std::size_t waves = most_waves(plan);
  std::vector<std::string> lines = {
      fmt::format("search: {} steps, {} evaluations; {} layer visits, {} without shared prefixes",
                  plan.steps, plan.evaluations, plan.stream_layers, plan.unshared_stream_layers)};
  lines.push_back(
      fmt::format("weights: {}, {} passes over the layers{}{}", name_of(report.placement),
                  plan.passes, waves > 1 ? fmt::format(" (up to {} waves a sweep)", waves) : "",
                  plan.streamed_bytes > 0
                      ? fmt::format(", {} brought to the device", bytes_text(plan.streamed_bytes))
                      : ""));
  lines.push_back(fmt::format("memory: {} of {}: {}", bytes_text(plan.device_bytes()),
                              bytes_text(report.device_limit), kinds_text(plan)));
  lines.push_back(fmt::format("host: {} of {} available: stored weights {}, tokens {}",
                              bytes_text(plan.host_bytes()), bytes_text(report.host_limit),
                              bytes_text(plan.host_weight_bytes),
                              bytes_text(plan.host_token_bytes)));
  lines.push_back(
      fmt::format("time: about {}; most of it {}", range_text(report), report.time.dominating()));
  return lines;
}

void check_fits(const PlanReport& report, const SearchSubject& subject) {
  if (report.plan.host_bytes() > report.host_limit) {
    throw ResourceError(
        {"the weights do not fit the host's memory",
         fmt::format("--weights {}", name_of(report.placement)),
         fmt::format("{} are needed, {} are available", bytes_text(report.plan.host_bytes()),
                     bytes_text(report.host_limit)),
         "--weights disk, which holds two layers alone"});
  }
  if (report.plan.fits) return;
  throw ResourceError(
      {"the run does not fit the device's memory", report.plan.tight,
       fmt::format("a sequence of {} tokens and one pattern need {}, {} may be taken",
                   subject.data.search.longest(), bytes_text(report.plan.device_bytes()),
                   bytes_text(report.device_limit)),
       fmt::format("{}a larger --memory-limit or GPU, or shorter sequences",
                   report.placement == Placement::resident ? "--weights stream or disk, " : "")});
}

Command add_plan(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* command = app.add_subcommand(
      "plan", "Evaluations, memory, disk and time of a run, before it begins; nothing is written");
  add_search_options(*command, options->search);
  command->add_flag("--probe", options->probe,
                    "Measure the model's first layers instead of estimating from their operations");
  add_common_options(*command, common);
  return {
      command, {"model", "calibration"}, [options, &common] { return run_plan(*options, common); }};
}

}  // namespace indexcache
