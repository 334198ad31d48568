// SPDX-License-Identifier: Apache-2.0
// run: the search, its verification, and everything written down.
#include "run/run.h"

#include "commands.h"
#include "core/console.h"
#include "device_options.h"
#include "present/terminal_summary.h"
#include "result/result_json.h"
#include "search_options.h"

#include <fmt/format.h>

namespace indexcache {
namespace {

struct RunCommand {
  RunOptions run;
  std::string progress = "auto";
};

int run_run(const RunCommand& options, const CommonOptions& common) {
  Progress progress(progress_style(options.progress, common));
  const Result result = run(options.run, progress);
  progress.clear();
  write_output("{}", common.json ? to_json(result).dump(1) + "\n"
                                 : summary_text(result, options.run.output));
  return 0;
}

}  // namespace

Command add_run(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<RunCommand>();
  CLI::App* command = app.add_subcommand(
      "run", "Search for a sharing pattern, verify it on held-out data and write all results");
  add_search_options(*command, options->run.search, options->progress);
  command
      ->add_option(
          "--budget", options->run.budget,
          "Time after which the search ends with the steps it has done: 4h, 90m, 1h30m, 45s")
      ->type_name("TIME");
  command->add_option("-o,--output", options->run.output, "Run folder; a run there is continued")
      ->type_name("DIR");
  command->add_flag("--restart", options->run.restart, "Discard what the run folder holds");
  add_common_options(*command, common);
  return {command, {"model", "calibration", "output"}, [options, &common] {
            return run_run(*options, common);
          }};
}

}  // namespace indexcache
