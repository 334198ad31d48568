// SPDX-License-Identifier: Apache-2.0
// plan: evaluations, weights that move, memory, disk and time of a run, before it begins.
#include "run/plan.h"

#include "commands.h"
#include "core/bytes.h"
#include "core/console.h"
#include "core/error.h"
#include "device_options.h"
#include "io/json_text.h"
#include "option_values.h"
#include "run/planned_machine.h"
#include "search_options.h"

#include <fmt/format.h>

namespace indexcache {
namespace {

struct PlanOptions {
  SearchOptions search;
  std::string progress = "auto";
  bool probe = false;
  std::string on;
};

// Nodes of at most eight GPUs, up to 64 of them.
constexpr std::size_t kDevices[] = {1, 2, 4, 8, 16, 64, 512};

void print_scaling(const Scaling& scaling) {
  write_output("\n{:>7}  {:>10}  {:>8}  {:>5}  {}\n", "devices", "time", "speed-up", "idle",
               "weights over links");
  for (const ScaledTime& time : scaling.times) {
    write_output("{:>7}  {:>10}  {:>8.1f}  {:>4.0f}%  {}\n", time.devices,
                 format_duration(time.seconds), scaling.times.front().seconds / time.seconds,
                 100 * time.idle_share, bytes_text(time.link_bytes));
  }
  write_output("scaling ends at about {} device{}: {}\n", scaling.ends_at,
               scaling.ends_at == 1 ? "" : "s", scaling.limit);
}

void print_plan(const RunPlan& plan) {
  const auto row = [](const char* name, const std::string& text) {
    write_output("{:<9} {}\n", name, text);
  };
  for (const std::string& line : plan_lines(plan)) {
    const std::size_t end = line.find(": ");
    row(line.substr(0, end).c_str(), line.substr(end + 2));
  }
  row("disk", "about " + bytes_text(plan.disk_bytes));
  if (plan.scaling) print_scaling(*plan.scaling);
}

// The folder's model, or what its config.json implies if that is all it contains.
Model model_to_plan(const PlanOptions& options, Progress& progress) {
  const DeviceOptions& device = options.search.device;
  if (!is_config_alone(device.model)) return open_model(device);
  if (options.probe) {
    throw InputError({"there are no weights to measure", device.model,
                      "the folder contains only config.json", "plan without --probe"});
  }
  progress.note("there are no weights: sizes are derived from config.json");
  Model model = expect_model(device.model, device.mla_norm_eps);
  model.config.indexer = indexer_of(device, model.config);
  return model;
}

int run_plan(const PlanOptions& options, const CommonOptions& common) {
  DeviceOptions device = options.search.device;
  std::optional<PlannedMachine> machine;
  if (!options.on.empty()) machine = parse_machine(options.on);
  if (machine && options.probe) {
    throw UsageError({"a machine that is not here cannot be measured", "--on and --probe", "",
                      "only one of them"});
  }
  if (machine) device.host_bytes = machine->host_bytes;
  std::unique_ptr<Backend> backend =
      machine ? make_planned_device(*machine, device) : make_backend(device);
  Progress progress(progress_style(options.progress, common));
  const Model model = model_to_plan(options, progress);
  const SearchSubject subject = open_subject(options.search, model, *backend, progress);
  RunPlan plan = make_plan(model, subject, *backend, device, machine ? machine->devices : 1,
                           machine ? machine->speed.value_or(1) : 1);
  if (options.probe && plan.work.tight() == nullptr) probe(plan, model, subject, *backend);
  const bool times_known = !machine || machine->speed;
  if (times_known && plan.work.tight() == nullptr) {
    plan.scaling = scale_run(plan, model, subject, *backend, kDevices);
  }
  progress.clear();
  if (common.json) {
    Json document = to_json(plan);
    document["warnings"] = subject.warnings;
    write_output("{}\n", json_text(document, 1));
  } else {
    print_plan(plan);
  }
  check_fits(plan, subject);
  return 0;
}

}  // namespace

Command add_plan(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* command = app.add_subcommand(
      "plan", "Show the evaluations, memory, disk space and time that a run needs; writes nothing");
  add_search_options(*command, options->search, options->progress);
  {
    const OptionGroup group(*command, "Search");
    command->add_flag("--probe", options->probe,
                      "Measure the model's first layers instead of estimating their time");
    command
        ->add_option("--on", options->on,
                     "Machine to plan for, which need not be here: 8xH200, H100, or 4x80GiB for "
                     "cards of which only the memory is known")
        ->type_name("MACHINE");
  }
  add_common_options(*command, common);
  return {command,
          {"model", "calibration"},
          {{"before a long run", "plan MODEL -c tokens.h5 --keep 1/4 --probe"},
           {"for a node that is not here; config.json of the model is enough",
            "plan MODEL -c tokens.h5 --keep 1/4 --precision bf16 --on 8xH200"}},
          [options, &common] { return run_plan(*options, common); }};
}

}  // namespace indexcache
