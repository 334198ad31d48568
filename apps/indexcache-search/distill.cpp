// SPDX-License-Identifier: Apache-2.0
// distill: trains the indexers of a pattern's F layers for the layers that they serve.
#include "calibration_options.h"
#include "commands.h"
#include "core/console.h"
#include "device_options.h"
#include "io/json_text.h"
#include "option_values.h"
#include "pattern_spec.h"
#include "present/distillation_text.h"
#include "run/distill_run.h"
#include "run/rank_service.h"
#include "run/run.h"

#include <fmt/format.h>

namespace indexcache {
namespace {

struct DistillCommand {
  DistillOptions distill;
  std::string pattern;
  std::string save_every = "60s";
  std::string progress = "auto";
};

int run_distill(DistillCommand options, CommonOptions& common) {
  DistillOptions& distill_options = options.distill;
  distill_options.save_seconds = parse_duration(options.save_every, "--save-every");
  share_settings(distill_options);
  require_one_process(common.join_ranks(), "distill");
  Backends backends = make_backends(distill_options.device);
  Progress progress(progress_style(options.progress, common));
  note_of_device(*backends.front(), progress);
  const DeviceOptions& device = distill_options.device;
  // A plan needs no weights.
  const bool expected = distill_options.plan && is_config_alone(device.model);
  const Model model = expected ? expect_model(device.model, device.mla_norm_eps)
                               : open_model(device.model, device.mla_norm_eps);
  require_trainable(model.config, "distill");
  const Pattern pattern = parse_pattern_spec(options.pattern, model.has_indexer);
  if (distill_options.plan) {
    const TrainingPlan plan =
        plan_distillation(distill_options, model, pattern, backends, progress);
    progress.clear();
    if (common.json) write_output("{}\n", json_text(to_json(plan), 1));
    if (common.json) return 0;
    for (const std::string& line : plan_lines(plan)) write_output("{}\n", line);
    return 0;
  }
  const Distillation result =
      distill(distill_options, model, pattern, std::move(backends), progress);
  progress.clear();
  write_output("{}", common.json ? json_text(to_json(result), 1) + "\n"
                                 : distillation_text(result, distill_options.output));
  return 0;
}

void add_training_options(CLI::App& command, DistillOptions& options) {
  const OptionGroup group(command, "Training");
  StageSettings& stage = options.dense;
  command
      .add_option("--steps", stage.steps,
                  "Steps of the dense stage, which learns from attention to every position")
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--rate", stage.rate, "Highest learning rate of the dense stage")
      ->type_name("RATE")
      ->capture_default_str();
  command
      .add_option(
          "--sparse-steps", options.sparse.steps,
          "Steps of the sparse stage, in which the pattern runs and only selected positions "
          "count (0: no such stage)")
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option("--sparse-rate", options.sparse.rate, "Highest learning rate of the sparse stage")
      ->type_name("RATE")
      ->capture_default_str();
  add_named_values(command, "--schedule", stage.schedule,
                   {{"cosine", Schedule::cosine}, {"constant", Schedule::constant}},
                   "How the learning rate changes after its warm-up");
  command.add_option("--warmup", stage.warmup, "Steps until the highest learning rate")
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option("--clip", stage.clip, "Highest norm of the gradient of one indexer (0: no limit)")
      ->type_name("NORM")
      ->capture_default_str();
  command.add_option("--batch", stage.batch, "Number of sequences per step")
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option("--query-interval", stage.query_interval,
                  "Train each step on one of N blocks of 256 queries, in turn (1: on all)")
      ->type_name("N")
      ->capture_default_str();
  command.add_flag("--own", options.own,
                   "Control: train each indexer for its own layer only, which should gain nothing");
}

void add_judging_options(CLI::App& command, DistillOptions& options, std::string& save_every) {
  const OptionGroup group(command, "Validation and judgment");
  command
      .add_option(
          "--holdout", options.holdout,
          "Data that judge the result: a file, a share of the sequences, 0 for none, or auto "
          "(the split of a prepared file, otherwise a quarter)")
      ->type_name("FILE|SHARE|auto")
      ->capture_default_str();
  command
      .add_option("--validation", options.validation,
                  "Share of the other sequences that decides when training stops and which "
                  "parameters are best")
      ->type_name("SHARE")
      ->capture_default_str();
  command.add_option("--validate-every", options.dense.validate_every, "Steps between validations")
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option("--patience", options.dense.patience,
                  "Validations without any progress after which a stage ends (0: never)")
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option("--budget", options.budget,
                  "Time after which training ends with what it has learned, such as 4h, 90m or "
                  "1h30m; the same command continues it")
      ->type_name("TIME");
  command
      .add_option("--save-every", save_every,
                  "Time between two states from which a training continues that was killed")
      ->type_name("TIME")
      ->capture_default_str();
}

}  // namespace

Command add_distill(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<DistillCommand>();
  CLI::App* command = app.add_subcommand(
      "distill",
      "Train the indexers that a pattern keeps to select for the layers that reuse them");
  add_device_options(*command, options->distill.device, options->progress);
  add_calibration_options(*command, options->distill.calibration);
  {
    const OptionGroup group(*command, "Training");
    command
        ->add_option(
            "-p,--pattern", options->pattern,
            "Pattern to train for: a pattern file, a run folder, uniform:4, or a string of F and S")
        ->type_name("PATTERN");
  }
  add_training_options(*command, options->distill);
  add_judging_options(*command, options->distill, options->save_every);
  {
    const OptionGroup group(*command, "Output");
    command
        ->add_option(
            "-o,--output", options->distill.output,
            "Folder for distill.json and the checkpoint (model/); a training that is already "
            "in it is continued")
        ->type_name("DIR");
    add_named_values(
        *command, "--link", options->distill.link,
        {{"symbolic", LinkKind::symbolic}, {"hard", LinkKind::hard}, {"copy", LinkKind::copy}},
        "How the new checkpoint has the files that do not change");
    command->add_flag("--restart", options->distill.restart,
                      "Discard the training that is already in the folder");
    command->add_flag("--plan", options->distill.plan,
                      "Print what the training needs and about how long it takes, then stop");
  }
  add_common_options(*command, common);
  return {command,
          {"model", "calibration", "pattern", "output"},
          {{"train for the pattern that a run found",
            "distill MODEL -p run -c train.jsonl --seq-len 32768 -o distilled"},
           {"a uniform pattern, within four hours, without the sparse stage",
            "distill MODEL -p uniform:4 -c train.h5 --sparse-steps 0 --budget 4h -o distilled"}},
          [options, &common] { return run_distill(*options, common); }};
}

}  // namespace indexcache
