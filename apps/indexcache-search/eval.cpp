// SPDX-License-Identifier: Apache-2.0
// eval: patterns against all-Full on the same sequences.
#include "calibration_options.h"
#include "commands.h"
#include "core/console.h"
#include "device_options.h"
#include "io/json_text.h"
#include "option_values.h"
#include "pattern_spec.h"
#include "present/target_text.h"
#include "result/parts_json.h"

#include <fmt/format.h>

namespace indexcache {
namespace {

struct EvalOptions {
  DeviceOptions device;
  std::string progress = "auto";
  CalibrationOptions calibration;
  std::vector<std::string> patterns;
};

Json pattern_json(const Pattern& pattern, double loss, const SequenceLosses& losses,
                  const PairedDifference& delta) {
  Json json{{"pattern", pattern.text()}, {"loss", loss}, {"sequence_losses", losses}};
  json.update(interval_json(delta));
  return json;
}

void print_row(const std::string& name, const Json& row) {
  const std::string pattern = row["pattern"];
  std::string line =
      fmt::format("{}  {}F  loss {}  delta {}", pattern, std::ranges::count(pattern, 'F'),
                  loss_text(row["loss"]), delta_text(row["delta"]));
  if (!row["delta_ci95"].is_null()) {
    line += fmt::format("  95% [{}, {}]", delta_text(row["delta_ci95"][0]),
                        delta_text(row["delta_ci95"][1]));
  }
  write_output("{}{}\n", line, name == pattern ? "" : "  " + name);
}

int run_eval(const EvalOptions& options, const CommonOptions& common) {
  std::unique_ptr<Backend> backend = make_backend(options.device);
  Progress progress(progress_style(options.progress, common));
  const Model model = open_model(options.device.model, options.device.mla_norm_eps);
  std::vector<Pattern> patterns = {model.baseline()};
  for (const std::string& spec : options.patterns) {
    patterns.push_back(parse_pattern_spec(spec, model.has_indexer));
  }
  std::vector<std::string> warnings;
  warn_of_model(model, progress, warnings);
  const TokenSet tokens = CalibrationLoader(options.calibration, model, options.device.model,
                                            options.device.threads, progress, warnings)
                              .whole(options.calibration.prepare.inputs);
  Session session(model, std::move(backend), options.device);
  SweepEvaluator evaluator = session.evaluator(tokens, progress, "evaluating");
  const auto losses = evaluator.losses(patterns);

  Json rows = Json::array();
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    rows.push_back(pattern_json(patterns[p], evaluator.mean(losses[p]), losses[p],
                                paired_difference(losses[p], losses[0], evaluator.weights())));
  }
  progress.clear();
  if (common.json) {
    Json document{{"baseline", rows[0]}, {"patterns", Json::array()}, {"warnings", warnings}};
    for (std::size_t p = 1; p < rows.size(); ++p) document["patterns"].push_back(rows[p]);
    write_output("{}\n", json_text(document, 1));
    return 0;
  }
  print_row("baseline", rows[0]);
  for (std::size_t p = 1; p < rows.size(); ++p) print_row(options.patterns[p - 1], rows[p]);
  return 0;
}

}  // namespace

Command add_eval(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* command = app.add_subcommand(
      "eval", "Compare the losses of given patterns with that of all-Full, sequence by sequence");
  add_device_options(*command, options->device, options->progress);
  {
    const OptionGroup group(*command, "Model and device");
    command
        ->add_option("patterns", options->patterns,
                     "Patterns to evaluate: full, uniform:4, freq:4,offset:3, a string of F and S, "
                     "or a pattern file")
        ->type_name("PATTERN");
  }
  add_calibration_options(*command, options->calibration);
  add_common_options(*command, common);
  return {command,
          {"model", "calibration", "patterns"},
          {{"measure a found pattern and a uniform one on other data",
            "eval MODEL run/pattern.yaml uniform:4 -c other.txt --seq-len 32768"}},
          [options, &common] { return run_eval(*options, common); }};
}

}  // namespace indexcache
