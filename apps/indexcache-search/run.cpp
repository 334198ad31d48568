// SPDX-License-Identifier: Apache-2.0
// run: the search, its verification, and everything written down.
#include "run/run.h"

#include "commands.h"
#include "core/console.h"
#include "device_options.h"
#include "io/json_text.h"
#include "option_values.h"
#include "present/terminal_summary.h"
#include "result/result_json.h"
#include "run/rank_service.h"
#include "search_options.h"

#include <fmt/format.h>

namespace indexcache {
namespace {

struct RunCommand {
  RunOptions run;
  std::string progress = "auto";
};

int run_run(const RunCommand& options, CommonOptions& common) {
  Ranks& ranks = common.join_ranks();
  if (ranks.computes_for_others()) return serve_run(options.run.search, ranks);
  Progress progress(progress_style(options.progress, common));
  const Result result = run(options.run, progress, ranks);
  progress.clear();
  write_output("{}", common.json ? json_text(to_json(result), 1) + "\n"
                                 : summary_text(result, options.run.output));
  return 0;
}

}  // namespace

Command add_run(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<RunCommand>();
  CLI::App* command = app.add_subcommand(
      "run", "Search for a sharing pattern, verify it on held-out data and write all results");
  add_search_options(*command, options->run.search, options->progress);
  {
    const OptionGroup group(*command, "Search");
    command
        ->add_option(
            "--budget", options->run.budget,
            "Time after which the search ends with the steps that it has finished, such as "
            "4h, 90m or 1h30m")
        ->type_name("TIME");
  }
  {
    const OptionGroup group(*command, "Output");
    command
        ->add_option("-o,--output", options->run.output,
                     "Run folder; a run that is already in it is continued")
        ->type_name("DIR");
    command->add_flag("--restart", options->run.restart,
                      "Discard the run that is already in the folder");
  }
  add_common_options(*command, common);
  return {command,
          {"model", "calibration", "output"},
          {{"keep a quarter of the indexers", "run MODEL -c tokens.h5 --keep 1/4 -o run"},
           {"two sizes, refined, within four hours",
            "run MODEL -c tokens.h5 -k 1/2,1/4 --refine swap --budget 4h -o run"}},
          [options, &common] { return run_run(*options, common); }};
}

}  // namespace indexcache
