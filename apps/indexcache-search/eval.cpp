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

Json pattern_json(const std::string& pattern, double loss, const SequenceLosses& losses,
                  const PairedDifference& delta) {
  Json json{{"pattern", pattern}, {"loss", loss}, {"sequence_losses", losses}};
  json.update(interval_json(delta));
  return json;
}

// `name`: of the pattern, if it is not written as F and S.
void print_row(const std::string& name, const Json& row) {
  const std::string pattern = row["pattern"];
  const std::string indexers =
      pattern == kDense ? "" : fmt::format("{}F  ", std::ranges::count(pattern, 'F'));
  std::string line = fmt::format("{}  {}loss {}  delta {}", pattern, indexers,
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
Measurement measure_apart(SpreadEvaluator& evaluator, std::span<const Pattern> patterns) {
  Measurement measured;
  const std::size_t first = 0;
  evaluator.losses({patterns.first(1), std::span(&first, 1), {}});
  for (const Pattern& pattern : patterns) {
    const auto begin = std::chrono::steady_clock::now();
    measured.losses.push_back(evaluator.losses(std::span(&pattern, 1)).front());
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
    measured.seconds.push_back(recorded_seconds(passed.count()));
  }
  return measured;
}

// One row per pattern, compared with `baseline`.
Json rows_of(std::span<const std::string> patterns, const Measurement& measured,
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

void name_indexer(Json& rows, std::string_view indexer) {
  for (Json& row : rows) row["indexer"] = indexer;
}

std::vector<std::string> texts_of(const std::vector<Pattern>& patterns) {
  std::vector<std::string> texts;
  for (const Pattern& pattern : patterns) texts.push_back(pattern.text());
  return texts;
}

// The rows of patterns, with that of dense attention where `specs` have it.
Json in_order(const std::vector<std::string>& specs, const Json& rows, const Json& dense) {
  Json ordered = Json::array({rows[0]});
  std::size_t next = 1;
  for (const std::string& spec : specs) ordered.push_back(spec == kDense ? dense : rows[next++]);
  return ordered;
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

// What the command line asks for. Patterns begin with the baseline.
struct Asked {
  std::vector<std::string> specs;                         // as given; --indexer none adds one
  std::vector<Pattern> patterns;                          // without dense attention
  std::vector<std::optional<std::size_t>> overlap_sizes;  // of patterns that an overlap decides
  bool dense = false;
  IndexerMethod compared;
};

Asked read_request(const EvalOptions& options, const Model& model) {
  Asked asked{options.patterns, {model.baseline()}, {}, false, std::nullopt};
  if (options.device.indexer == kNoIndexer) {
    if (std::ranges::find(asked.specs, kDense) == asked.specs.end()) {
      asked.specs.emplace_back(kDense);
    }
  } else {
    asked.compared = indexer_of(options.device, model.config);
  }
  for (const std::string& spec : asked.specs) {
    if (spec == kDense && model.config.compressed) {
      throw UsageError(
          {fmt::format("dense attention is not available for {}", model.config.family->title),
           "dense", "it attends to compressed entries, not to every position", "patterns only"});
    }
    if (spec == kDense) {
      asked.dense = true;
      continue;
    }
    asked.overlap_sizes.push_back(overlap_size(spec, model.baseline()));
    asked.patterns.push_back(
        asked.overlap_sizes.back()
            ? model.baseline()
            : parse_pattern_spec(spec, model.has_indexer, model.config.layer_numbers()));
  }
  return asked;
}

// What all parts of an evaluation share.
struct Evaluation {
  Session& session;
  const TokenSet& tokens;
  Progress& progress;
};

// `rows` by the exact indexer, and those by another one; empty if there is none.
struct Rows {
  Json exact, other = Json::array();
};

Json dense_row(const Evaluation& on, const Pattern& baseline, const SequenceLosses& exact) {
  SpreadEvaluator evaluator =
      on.session.dense_evaluator(on.tokens, on.progress, "evaluating dense attention");
  const std::string name(kDense);
  Json rows = rows_of({&name, 1}, measure_apart(evaluator, {&baseline, 1}), exact, evaluator);
  name_indexer(rows, kNoIndexer);
  return rows[0];
}

Rows measure(const Evaluation& on, Asked& asked) {
  SpreadEvaluator evaluator =
      on.session.evaluator(on.tokens, on.progress, "evaluating", std::nullopt);
  choose_by_overlap(asked.overlap_sizes, evaluator, asked.patterns);
  const std::vector<std::string> texts = texts_of(asked.patterns);
  const bool apart = asked.compared || asked.dense;  // what is compared has its time
  const Measurement exact = apart ? measure_apart(evaluator, asked.patterns)
                                  : Measurement{evaluator.losses(asked.patterns), {}};
  const SequenceLosses& baseline = exact.losses.front();
  Rows rows{rows_of(texts, exact, baseline, evaluator)};
  if (apart) name_indexer(rows.exact, indexer_text(std::nullopt));
  if (asked.dense) {
    rows.exact = in_order(asked.specs, rows.exact, dense_row(on, asked.patterns.front(), baseline));
  }
  if (!asked.compared) return rows;
  const std::string name = indexer_text(asked.compared);
  SpreadEvaluator by_other =
      on.session.evaluator(on.tokens, on.progress, "evaluating " + name, asked.compared);
  rows.other = rows_of(texts, measure_apart(by_other, asked.patterns), baseline, by_other);
  name_indexer(rows.other, name);
  return rows;
}

void print_text(const Rows& rows, std::vector<std::string> specs) {
  for (const Json* part : {&rows.exact, &rows.other}) {
    for (std::size_t p = 0; p < part->size(); ++p) {
      print_row(p == 0 ? "baseline" : specs[p - 1], (*part)[p]);
    }
    std::erase(specs, kDense);  // no indexer changes it
  }
}

int run_eval(const EvalOptions& options, CommonOptions& common) {
  Ranks& ranks = common.join_ranks();
  Backends backends = make_backends(options.device);
  Progress progress(progress_style(options.progress, common, ranks));
  note_of_device(*backends.front(), progress);
  if (options.device.indexer != kNoIndexer) parse_indexer(options.device.indexer);
  const Model model = open_model(options.device.model, options.device.mla_norm_eps);
  Asked asked = read_request(options, model);
  std::vector<std::string> warnings;
  note_of_weights(model, *backends.front(), progress);
  warn_of_model(model, progress, warnings);
  const TokenSet tokens = CalibrationLoader(options.calibration, model, options.device.model,
                                            options.device.threads, progress, warnings)
                              .whole(options.calibration.prepare.inputs);
  if (asked.compared) warn_of_reach(*asked.compared, tokens, progress, warnings);
  if (ranks.computes_for_others()) {
    return serve_tokens(model, tokens, std::move(backends), options.device, ranks);
  }
  Session session(model, std::move(backends), options.device);
  admit_to(session, model, tokens, ranks);
  warn_of_kinds(session.kinds(), progress, warnings);
  const Rows rows = measure({session, tokens, progress}, asked);
  progress.clear();
  if (common.json) {
    print_document(rows.exact, rows.other, warnings);
  } else {
    print_text(rows, asked.specs);
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
      "many a query chooses; none is the pattern dense; exact adds nothing",
      IndexerChoice::with_none);
  {
    const OptionGroup group(*command, "Model and device");
    command
        ->add_option(
            "patterns", options->patterns,
            "Patterns to evaluate: full, uniform:4, freq:4,offset:3, overlap:12 (what the "
            "overlap of index sets recommends for 12 F layers), a string of F and S, a pattern "
            "file, or dense (attention to all earlier tokens, without any indexer)")
        ->type_name("PATTERN");
  }
  add_calibration_options(*command, options->calibration);
  add_common_options(*command, common);
  return {command,
          {"model", "calibration", "patterns"},
          {{"see what selecting tokens costs in loss, and what it saves in time",
            "eval MODEL dense run/pattern.yaml -c other.txt --seq-len 131072"},
           {"measure a found pattern and a uniform one on other data",
            "eval MODEL run/pattern.yaml uniform:4 -c other.txt --seq-len 32768"},
           {"see what HISA, the pattern, and both together cost and save",
            "eval MODEL run/pattern.yaml -c other.txt --seq-len 131072 --indexer hisa"}},
          [options, &common] { return run_eval(*options, common); }};
}

}  // namespace indexcache
