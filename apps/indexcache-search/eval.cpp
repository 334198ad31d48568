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
#include "run/rank_service.h"
#include "run/targets.h"
#include "search/baselines.h"
#include "search/overlap_pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>

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

// "overlap:12" or "overlap:1/4": a number of F layers, whose pattern the overlap of index sets on
// the same sequences decides; nullopt for other forms of patterns.
std::optional<std::size_t> overlap_size(const std::string& spec, const Pattern& baseline) {
  constexpr std::string_view kPrefix = "overlap:";
  if (!spec.starts_with(kPrefix)) return std::nullopt;
  const std::size_t full = parse_keep(spec.substr(kPrefix.size()), baseline.layers(), "overlap:");
  if (full <= baseline.full_count()) return full;
  throw UsageError({fmt::format("the pattern {} has too many F layers", spec), "pattern",
                    fmt::format("only {} layers have an indexer", baseline.full_count()),
                    fmt::format("overlap:{} or fewer", baseline.full_count())});
}

// Replaces patterns of given sizes by those that the overlap recommends.
void choose_by_overlap(const std::vector<std::optional<std::size_t>>& sizes,
                       SpreadEvaluator& evaluator, std::vector<Pattern>& patterns) {
  const Pattern baseline = patterns.front();
  if (std::ranges::none_of(sizes, [](const auto& size) { return size.has_value(); })) return;
  const Overlap overlap = evaluator.measure_overlap(baseline).overlap;
  const Constraints none = Constraints::none(baseline.layers());
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i]) patterns[i + 1] = overlap_pattern(overlap, baseline, none, *sizes[i]).value();
  }
}

int run_eval(const EvalOptions& options, CommonOptions& common) {
  Ranks& ranks = common.join_ranks();
  Backends backends = make_backends(options.device);
  Progress progress(progress_style(options.progress, common, ranks));
  note_of_device(*backends.front(), progress);
  const Model model = open_model(options.device.model, options.device.mla_norm_eps);
  std::vector<Pattern> patterns = {model.baseline()};
  std::vector<std::optional<std::size_t>> overlap_sizes;
  for (const std::string& spec : options.patterns) {
    overlap_sizes.push_back(overlap_size(spec, model.baseline()));
    patterns.push_back(overlap_sizes.back() ? model.baseline()
                                            : parse_pattern_spec(spec, model.has_indexer));
  }
  std::vector<std::string> warnings;
  note_of_weights(model, *backends.front(), progress);
  warn_of_model(model, progress, warnings);
  const TokenSet tokens = CalibrationLoader(options.calibration, model, options.device.model,
                                            options.device.threads, progress, warnings)
                              .whole(options.calibration.prepare.inputs);
  if (ranks.computes_for_others()) {
    return serve_tokens(model, tokens, std::move(backends), options.device, ranks);
  }
  Session session(model, std::move(backends), options.device);
  admit_to(session, model, tokens, ranks);
  warn_of_kinds(session.kinds(), progress, warnings);
  SpreadEvaluator evaluator = session.evaluator(tokens, progress, "evaluating");
  choose_by_overlap(overlap_sizes, evaluator, patterns);
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
                     "Patterns to evaluate: full, uniform:4, freq:4,offset:3, overlap:12 (what the "
                     "overlap of index sets recommends for 12 F layers), a string of F and S, or a "
                     "pattern file")
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
