// SPDX-License-Identifier: Apache-2.0
#include "search_options.h"

#include "calibration_options.h"
#include "device_options.h"
#include "option_values.h"

namespace indexcache {
namespace {

void add_stage_options(CLI::App& command, ConstraintOptions& options) {
  CLI::Option* pp_size =
      command
          .add_option(
              "--pp-size", options.pp_size,
              "Number of pipeline stages, divided evenly as in vLLM and SGLang; the first layer "
              "of each stage stays F")
          ->type_name("P");
  command
      .add_option("--pp-partition", options.pp_partition,
                  "Number of layers in each pipeline stage, such as 20,20,21, if the engine is "
                  "given a partition")
      ->delimiter(',')
      ->type_name("N,N,...")
      ->excludes(pp_size);
}

void add_constraint_options(CLI::App& command, ConstraintOptions& options) {
  const OptionGroup group(command, "Target and constraints");
  command
      .add_option("-k,--keep", options.keep,
                  "Indexers to keep: a ratio of all layers (1/4) or a number of layers (12); "
                  "several values share one search")
      ->delimiter(',')
      ->type_name("N|A/B");
  command
      .add_option("--remove", options.remove,
                  "Number of indexers to remove (alternative to --keep)")
      ->delimiter(',')
      ->type_name("N");
  command
      .add_option(
          "--max-rise", options.max_rise,
          "One more target: the fewest indexers for which the upper end of the 95% interval of the "
          "loss increase is at most NATS per token on the calibration data; if held-out data "
          "do not confirm it, one more indexer is kept, with a warning")
      ->type_name("NATS");
  command.add_option("--pin-full", options.pin_full, "Layers that must stay F")
      ->delimiter(',')
      ->type_name("LAYER");
  command.add_option("--pin-shared", options.pin_shared, "Layers that must become S")
      ->delimiter(',')
      ->type_name("LAYER");
  command
      .add_option("--max-run", options.max_run,
                  "Maximum number of consecutive S layers (0: unlimited)")
      ->type_name("N");
  add_stage_options(command, options);
  command.add_flag("--native-sharing", options.native_sharing,
                   "Start from the sharing schedule in config.json, even if shared layers have "
                   "indexer weights");
}

std::vector<std::string> refinement_names() {
  std::vector<std::string> names = {"none"};
  for (const Refinement& refinement : refinements()) names.emplace_back(refinement.name);
  return names;
}

void add_race_options(CLI::App& command, SearchOptions& options) {
  command
      .add_option("--confidence", options.confidence,
                  "Races: patterns are measured on more and more sequences, and those that cannot "
                  "win at this confidence leave; none measures every pattern on every sequence, "
                  "auto is 0.95 if there are at least four sequences")
      ->type_name("P|none|auto")
      ->capture_default_str();
  command.add_flag("--race-greedy", options.race_greedy,
                   "Let the steps of the greedy search be races, too; by default it compares "
                   "layers on all sequences, as the paper does");
  command.add_flag("--stability", options.stability,
                   "Also search by segments on each half of the sequences, and report whether they "
                   "agree and what each half's choice costs on the other (implies --confidence "
                   "none)");
}

void add_distill_options(CLI::App& command, SearchOptions& options) {
  const OptionGroup group(command, "Distillation");
  command
      .add_option(
          "--distill", options.distill,
          "Train an indexer for every segment of layers on these data, search with them, and "
          "write a checkpoint with those of the chosen pattern; inputs as for --calibration")
      ->type_name("FILE|DIR")
      ->expected(1)
      ->take_all();
  StageSettings& stage = options.training.dense;
  stage.steps = 150;
  command
      .add_option("--distill-steps", stage.steps, "Steps that train the indexers of all segments")
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option("--distill-finish-steps", options.finishing.steps,
                  "More steps for the indexers of the chosen pattern")
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option("--distill-sparse-steps", options.training.sparse.steps,
                  "Steps after these in which the pattern runs (0: none)")
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--distill-rate", stage.rate, "Highest learning rate")
      ->type_name("RATE")
      ->capture_default_str();
  command.add_option("--distill-batch", stage.batch, "Number of sequences per step")
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option("--distill-query-interval", stage.query_interval,
                  "Train each step on one of N blocks of 256 queries, in turn (1: on all)")
      ->type_name("N")
      ->capture_default_str();
}

}  // namespace

void add_search_options(CLI::App& command, SearchOptions& options, std::string& progress) {
  add_device_options(command, options.device, progress);
  add_indexer_option(
      command, options.device,
      "How tokens are selected in every measurement: exact, or hisa for engines that "
      "deploy it, which selects among the best blocks of keys; "
      "hisa:block=128,blocks=64 states the size of a block and how many are chosen");
  add_calibration_options(command, options.calibration);
  add_constraint_options(command, options.constraints);
  const OptionGroup group(command, "Search");
  command
      .add_option("--holdout", options.holdout,
                  "Data to verify on, which the search does not see: a file, a share of the "
                  "calibration sequences, 0 for none, or auto: the split of a prepared file, or "
                  "else 0.25")
      ->type_name("FILE|SHARE|auto")
      ->capture_default_str();
  one_of(command.add_option("--strategy", options.strategies,
                            "How to search: segments measures segments of layers and combines "
                            "them, greedy shares one layer at a time (IndexCache, Algorithm 1); "
                            "with both, the better pattern wins at each target"),
         default_strategies())
      ->delimiter(',')
      ->default_str("segments,greedy");
  one_of(command.add_option("--refine", options.refine,
                            "Improve the pattern of each target without changing its size: swap "
                            "moves one F layer at a time as long as that lowers the loss by more "
                            "than its standard error"),
         refinement_names())
      ->capture_default_str();
  one_of(command.add_option(
             "--objective", options.objective,
             "What the search minimizes: the loss of the next token, the KL divergence of its "
             "distribution from that of all-Full (kl), or the loss of the positions "
             "beyond index_topk (tail)"),
         {kObjectiveNames.begin(), kObjectiveNames.end()})
      ->capture_default_str();
  add_race_options(command, options);
  add_distill_options(command, options);
}

}  // namespace indexcache
