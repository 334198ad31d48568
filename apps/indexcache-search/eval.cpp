// SPDX-License-Identifier: Apache-2.0
// eval: patterns against all-Full on the same sequences.
#include "calibration_options.h"
#include "commands.h"
#include "core/console.h"
#include "core/created.h"
#include "device_options.h"
#include "indexer_overlap_text.h"
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
#include <chrono>
#include <optional>
#include <span>
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

// `name`: of the pattern, if it is not written as F and S.
void print_row(const std::string& name, const Json& row) {
  const std::string pattern = row["pattern"];
  std::string line =
      fmt::format("{}  {}F  loss {}  delta {}", pattern, std::ranges::count(pattern, 'F'),
                  loss_text(row["loss"]), delta_text(row["delta"]));
  if (!row["delta_ci95"].is_null()) {
    line += fmt::format("  95% [{}, {}]", delta_text(row["delta_ci95"][0]),
                        delta_text(row["delta_ci95"][1]));
  }
  if (row.contains("indexer")) line += "  " + row["indexer"].get<std::string>();
  if (row.contains("seconds")) line += fmt::format("  {:.2f} s", row["seconds"].get<double>());
  write_output("{}{}\n", line, name == pattern ? "" : "  " + name);
}

// Losses of patterns on the same sequences, all-Full first.
struct Measurement {
  std::vector<SequenceLosses> losses;
  std::vector<std::optional<double>> seconds;  // empty: not measured one by one
};

// Evaluates every pattern by itself, so that each has its own time. Weights that stay on the device
// are brought there before that.
Measurement measure_apart(SpreadEvaluator& evaluator, const std::vector<Pattern>& patterns) {
  Measurement measured;
  const std::size_t first = 0;
  evaluator.losses({std::span(patterns).first(1), std::span(&first, 1), {}});
  for (const Pattern& pattern : patterns) {
    const auto begin = std::chrono::steady_clock::now();
    measured.losses.push_back(evaluator.losses(std::span(&pattern, 1)).front());
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
    measured.seconds.push_back(recorded_seconds(passed.count()));
  }
  return measured;
}

// One row per pattern, compared with `baseline`.
Json rows_of(const std::vector<Pattern>& patterns, const Measurement& measured,
             const SequenceLosses& baseline, const SpreadEvaluator& evaluator) {
  Json rows = Json::array();
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    const SequenceLosses& losses = measured.losses[p];
    rows.push_back(pattern_json(patterns[p], evaluator.mean(losses), losses,
                                paired_difference(losses, baseline, evaluator.weights())));
    if (!measured.seconds.empty() && measured.seconds[p]) {
      rows.back()["seconds"] = *measured.seconds[p];
    }
  }
  return rows;
}

void name_indexer(Json& rows, const IndexerMethod& method) {
  for (Json& row : rows) row["indexer"] = indexer_text(method);
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

// `other`: the rows by another indexer; empty if there is none.
void print_document(const Json& rows, const Json& other, const std::vector<std::string>& warnings) {
  Json document{{"baseline", rows[0]}, {"patterns", Json::array()}, {"warnings", warnings}};
  for (std::size_t p = 1; p < rows.size(); ++p) document["patterns"].push_back(rows[p]);
  if (!other.empty()) document["by_other_indexer"] = other;
  write_output("{}\n", json_text(document, 1));
}

int run_eval(const EvalOptions& options, CommonOptions& common) {
  Ranks& ranks = common.join_ranks();
  Backends backends = make_backends(options.device);
  Progress progress(progress_style(options.progress, common, ranks));
  note_of_device(*backends.front(), progress);
  const IndexerMethod compared = parse_indexer(options.device.indexer);
  const Model model = open_model(options.device.model, options.device.mla_norm_eps);
  check_indexer(compared, model.config);
  std::vector<Pattern> patterns = {model.baseline()};
  std::vector<std::optional<std::size_t>> overlap_sizes;
  for (const std::string& spec : options.patterns) {
    overlap_sizes.push_back(overlap_size(spec, model.baseline()));
    patterns.push_back(overlap_sizes.back() ? model.baseline()
                                            : parse_pattern_spec(spec, model.has_indexer,
                                                                 model.config.layer_numbers()));
  }
  std::vector<std::string> warnings;
  note_of_weights(model, *backends.front(), progress);
  warn_of_model(model, progress, warnings);
  const TokenSet tokens = CalibrationLoader(options.calibration, model, options.device.model,
                                            options.device.threads, progress, warnings)
                              .whole(options.calibration.prepare.inputs);
  if (compared) warn_of_reach(*compared, tokens, progress, warnings);
  if (ranks.computes_for_others()) {
    return serve_tokens(model, tokens, std::move(backends), options.device, ranks);
  }
  Session session(model, std::move(backends), options.device);
  admit_to(session, model, tokens, ranks);
  warn_of_kinds(session.kinds(), progress, warnings);
  SpreadEvaluator evaluator = session.evaluator(tokens, progress, "evaluating", std::nullopt);
  choose_by_overlap(overlap_sizes, evaluator, patterns);
  const Measurement exact =
      compared ? measure_apart(evaluator, patterns) : Measurement{evaluator.losses(patterns), {}};
  const SequenceLosses& baseline = exact.losses.front();
  Json rows = rows_of(patterns, exact, baseline, evaluator);
  Json other = Json::array();
  if (compared) {
    SpreadEvaluator by_other =
        session.evaluator(tokens, progress, "evaluating " + indexer_text(compared), compared);
    other = rows_of(patterns, measure_apart(by_other, patterns), baseline, by_other);
    name_indexer(rows, std::nullopt);
    name_indexer(other, compared);
  }
  progress.clear();
  if (common.json) {
    print_document(rows, other, warnings);
    return 0;
  }
  for (const Json* part : {&rows, &other}) {
    for (std::size_t p = 0; p < part->size(); ++p) {
      print_row(p == 0 ? "baseline" : options.patterns[p - 1], (*part)[p]);
    }
  }
  return 0;
}

}  // namespace

Command add_eval(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* command = app.add_subcommand(
      "eval", "Compare the losses of given patterns with that of all-Full, sequence by sequence");
  add_device_options(*command, options->device, options->progress);
  add_indexer_option(
      *command, options->device,
      "Also evaluate every pattern by another indexer, and show how long each takes: "
      "hisa, or hisa:block=128,blocks=64 with the size of a block of keys and how "
      "many a query chooses; exact adds nothing");
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
            "eval MODEL run/pattern.yaml uniform:4 -c other.txt --seq-len 32768"},
           {"see what HISA, the pattern, and both together cost and save",
            "eval MODEL run/pattern.yaml -c other.txt --seq-len 131072 --indexer hisa"}},
          [options, &common] { return run_eval(*options, common); }};
}

}  // namespace indexcache
