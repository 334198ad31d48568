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
#include "search_options.h"

#include <fmt/format.h>

namespace indexcache {
namespace {

struct PlanOptions {
  SearchOptions search;
  std::string progress = "auto";
  bool probe = false;
};

void print_plan(const RunPlan& plan) {
  const auto row = [](const char* name, const std::string& text) {
    write_output("{:<9} {}\n", name, text);
  };
  for (const std::string& line : plan_lines(plan)) {
    const std::size_t end = line.find(": ");
    row(line.substr(0, end).c_str(), line.substr(end + 2));
  }
  row("disk", "about " + bytes_text(plan.disk_bytes));
  std::string gpus;
  for (const std::size_t n : {1, 2, 4, 8}) {
    gpus +=
        fmt::format("{}{} {}", gpus.empty() ? "" : ", ", n, format_duration(seconds_on(plan, n)));
  }
  row("GPUs", gpus + " (sequences split across GPUs; this version runs on one)");
}

// The folder's model, or what its config.json implies if that is all it contains.
Model model_to_plan(const PlanOptions& options, Progress& progress) {
  const DeviceOptions& device = options.search.device;
  if (!is_config_alone(device.model)) return open_model(device.model, device.mla_norm_eps);
  if (options.probe) {
    throw InputError({"there are no weights to measure", device.model,
                      "the folder contains only config.json", "plan without --probe"});
  }
  progress.note("there are no weights: sizes are derived from config.json");
  return expect_model(device.model, device.mla_norm_eps);
}

int run_plan(const PlanOptions& options, const CommonOptions& common) {
  const DeviceOptions& device = options.search.device;
  std::unique_ptr<Backend> backend = make_backend(device);
  Progress progress(progress_style(options.progress, common));
  const Model model = model_to_plan(options, progress);
  const SearchSubject subject = open_subject(options.search, model, *backend, progress);
  RunPlan plan = make_plan(model, subject, *backend, device);
  if (options.probe && plan.work.tight() == nullptr) probe(plan, model, subject, *backend);
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
  }
  add_common_options(*command, common);
  return {command,
          {"model", "calibration"},
          {{"before a long run", "plan MODEL -c tokens.h5 --keep 1/4 --probe"}},
          [options, &common] { return run_plan(*options, common); }};
}

}  // namespace indexcache
