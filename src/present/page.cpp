// SPDX-License-Identifier: Apache-2.0
#include "present/page.h"

#include "core/count_text.h"
#include "present/charts.h"
#include "present/charts_profile.h"
#include "present/escape.h"
#include "present/html.h"
#include "present/page_comparison.h"
#include "present/page_engines.h"
#include "present/page_profile.h"
#include "present/page_segments.h"
#include "present/search_curve.h"
#include "present/segments_report.h"
#include "present/sharing_doubts.h"
#include "present/target_text.h"
#include "result/parts_json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

namespace indexcache {
namespace {

using Rows = std::vector<std::vector<std::string>>;

std::string four(double value) {
  return fmt::format("{:+.4f}", value);
}

std::string share(double value) {
  return fmt::format("{:.3f}", value);
}

std::string number(std::size_t value) {
  return fmt::format("{}", value);
}

// Attributes of a block that belongs to one target; the last, smallest one shows at first.
std::string of_target(const Result& result, std::size_t t, const std::string& css = "") {
  return fmt::format("class=\"target{}{}\" data-target=\"{}\"",
                     t + 1 == result.targets.size() ? " on" : "", css, t);
}

std::string facts_html(const Result& result, const Target& target) {
  const PairedDifference& shown = shown_measure(target).delta;
  const bool held_out = target.holdout.has_value();
  const char* where = held_out ? "held-out" : "calibration";
  const Pattern& pattern = target.calibration.pattern;
  std::string text = html_fact(fmt::format("{} of {}", pattern.full_count(), pattern.layers()),
                               fmt::format("layers keep their indexer: {:.0f}% of indexer work "
                                           "removed; found by {}",
                                           saved_percent(result, target), target.method));
  text += html_fact(perplexity_text(shown.mean), fmt::format("{} perplexity", where));
  text +=
      html_fact(four(shown.mean),
                shown.ci95 ? fmt::format("{} loss increase, nats per token; 95% {} to {}", where,
                                         four(shown.ci95->first), four(shown.ci95->second))
                           : fmt::format("{} loss increase, nats per token; no interval", where));
  const TokenSummary& tokens = held_out ? result.holdout->tokens : result.calibration;
  text += html_fact(number(tokens.sequences),
                    fmt::format("{} sequences, {} tokens", where, count_text(tokens.tokens)));
  return "<div class=\"facts\">\n" + text + "</div>\n";
}

// When sharing may not pay (docs/when-to-share.md).
std::string doubts_html(const Result& result, const Target& target) {
  std::string text;
  for (const std::string& doubt : sharing_doubts(result, target)) {
    text += fmt::format("<p class=\"muted\">{}</p>\n", escape_markup(doubt));
  }
  return text;
}

std::string card_html(const Result& result, std::size_t t) {
  const Target& target = result.targets[t];
  const VerdictText verdict = verdict_of(target);
  std::string text =
      fmt::format("<div {}>\n<p class=\"verdict {}\">{}</p>\n", of_target(result, t, " card"),
                  verdict.good ? "good" : "bad", escape_markup(verdict.text));
  text += facts_html(result, target);
  text += pattern_html(result.model, target.calibration.pattern);
  text += doubts_html(result, target);
  text += engines_html(result.model, target.calibration.pattern, target.distilled.has_value());
  return text + "</div>\n";
}

std::string selector_html(const Result& result) {
  const std::vector<Target>& targets = result.targets;
  if (targets.size() < 2) return "";
  std::string text = "<fieldset><legend class=\"muted\">target</legend>\n";
  for (std::size_t t = 0; t < targets.size(); ++t) {
    text += fmt::format(
        "<label><input type=\"radio\" name=\"target\" value=\"{}\"{}> {} ({} F)</label>\n", t,
        t + 1 == targets.size() ? " checked" : "", escape_markup(targets[t].request),
        targets[t].calibration.pattern.full_count());
  }
  return text + "</fieldset>\n";
}

std::string strip_html(const Report& report, std::size_t t) {
  const Pattern& pattern = report.result.targets[t].calibration.pattern;
  const LayerNumbers& numbers = report.result.model.numbers;
  Rows rows = {{"layer", "runs its indexer", "donor", "distance", "overlap with donor"}};
  for (std::size_t layer = 0; layer < pattern.layers(); ++layer) {
    const std::size_t donor = pattern.donor(layer);
    rows.push_back(pattern.is_full(layer)
                       ? std::vector<std::string>{number(numbers.of(layer)), "yes", "", "", ""}
                       : std::vector<std::string>{number(numbers.of(layer)), "no",
                                                  number(numbers.of(donor)), number(layer - donor),
                                                  share(report.overlap.mean(layer, donor))});
  }
  return html_section(
      "Which layers run their indexer?",
      "F layers run it; an S layer uses the set of the layer named below it.",
      pattern_strip(pattern, numbers).inline_text() + html_details("as a table", html_table(rows)),
      of_target(report.result, t));
}

std::string heatmap_html(const Report& report) {
  const LayerNumbers& numbers = report.result.model.numbers;
  Rows rows = {{"layer"}};
  for (std::size_t j = 0; j < report.overlap.layers; ++j) {
    rows[0].push_back(number(numbers.of(j)));
  }
  for (std::size_t i = 0; i < report.overlap.layers; ++i) {
    rows.push_back({number(numbers.of(i))});
    for (std::size_t j = 0; j < report.overlap.layers; ++j) {
      rows.back().push_back(fmt::format("{:.2f}", report.overlap.mean(i, j)));
    }
  }
  return html_section(
      "How similar are the layers' top-k sets?",
      "Red frames: blocks of layers that agree. Small frames: each shared layer (row) and its "
      "donor (column).",
      "<div id=\"heatmap\">" + overlap_heatmap(report).inline_text() +
          "</div>\n<p class=\"muted\" id=\"heatmap-value\" data-cell=\"layers # and #\">point at a "
          "cell to see its value</p>\n" +
          html_details("as a table", html_table(rows, "heatmap-table")));
}

// How far the best other pattern of a step was behind.
std::string margin_text(const PathStep& step) {
  const Considered* second = runner_up(step);
  return second == nullptr ? "" : fmt::format("{:.4f}", second->loss - step.loss);
}

// Where the predicted curve bends or, without it, those of the searches.
std::string knee_text(const Result& result, const SegmentsReport* segments) {
  if (segments != nullptr && segments->knee) {
    const SizePoint& bend = segments->sizes[*segments->knee];
    return fmt::format(
        " The knee of the predicted curve is at {} F layers, {} indexers removed and {}.",
        bend.full, result.baseline.full_count() - bend.full, four(bend.predicted));
  }
  std::string text;
  for (const SearchPath& search : result.searches) {
    const std::vector<CurvePoint> curve = search_curve(result, search);
    if (const auto bend = knee(curve)) {
      text += fmt::format(" The knee is at {} removed indexers.", curve[*bend].removed);
    }
  }
  return text;
}

std::string curve_html(const Result& result, const SegmentsReport* segments) {
  Rows rows = {{"step", "method", "layer shared", "removed", value_text(result),
                "margin of the runner-up", "pattern"}};
  for (const StepChange& change : step_changes(result)) {
    const Pattern& pattern = change.step->pattern;
    const auto removed = static_cast<std::ptrdiff_t>(result.baseline.full_count()) -
                         static_cast<std::ptrdiff_t>(pattern.full_count());
    rows.push_back({number(rows.size()), change.search->method,
                    change_text(*change.before, pattern, result.model.numbers),
                    fmt::format("{}", removed), four(change.step->loss - result.search_start),
                    margin_text(*change.step), pattern.text()});
  }
  std::string caption = fmt::format("Search ({}) on calibration data; targets on held-out data.",
                                    methods_text(result));
  return html_section(
      "What does each removed indexer cost?", caption + knee_text(result, segments),
      loss_curve(result, segments).inline_text() + html_details("as a table", html_table(rows)));
}

std::string sensitivity_html(const Result& result) {
  auto costs = sensitivity(result);
  std::ranges::stable_sort(costs, std::greater<>(), &LayerCost::rise);
  Rows rows = {{"layer", "loss increase if only it is shared"}};
  std::vector<std::size_t> most;
  for (const LayerCost& cost : costs) {
    const std::size_t layer = result.model.numbers.of(cost.layer);
    rows.push_back({number(layer), four(cost.rise)});
    if (most.size() < 3) most.push_back(layer);
  }
  return html_section(
      "Which layers must keep their indexer?",
      most.empty() ? "No step had a choice."
                   : fmt::format("Loss increase if only one layer is shared. Most sensitive: {}.",
                                 fmt::join(most, ", ")),
      sensitivity_bars(result).inline_text() +
          html_details("sorted, as a table", html_table(rows)));
}

std::string steps_html(const Result& result) {
  Rows rows = {{"step", "layer", "change of the loss"}};
  std::size_t index = 0;
  for (const StepChange& change : step_changes(result)) {
    ++index;
    for (const Considered& considered : change.step->considered) {
      rows.push_back({number(index),
                      change_text(*change.before, considered.pattern, result.model.numbers),
                      four(considered.loss - change.loss_before)});
    }
  }
  return html_section(
      "How does each layer's cost change as donors are removed?",
      "Every candidate of every step: blue lowers the loss, red raises it. A ring "
      "is the layer that was shared.",
      step_heatmap(result).inline_text() + html_details("as a table", html_table(rows)));
}

std::string scatter_html(const Report& report) {
  const auto costs = overlap_costs(report);
  std::vector<double> overlaps;
  std::vector<double> rises;
  Rows rows = {{"layer", "overlap with the previous layer", "loss increase"}};
  for (const OverlapCost& cost : costs) {
    overlaps.push_back(cost.overlap);
    rises.push_back(cost.rise);
    rows.push_back(
        {number(report.result.model.numbers.of(cost.layer)), share(cost.overlap), four(cost.rise)});
  }
  const auto rank = rank_correlation(overlaps, rises);
  return html_section(
      "Does overlap predict the cost?",
      rank ? fmt::format("One point per layer. Rank correlation {:+.2f} ({}).", *rank,
                         *rank < -0.5 ? "high overlap goes with low cost"
                                      : "overlap by itself would not have found the pattern")
           : "Too few layers for a rank correlation.",
      overlap_scatter(report).inline_text() + html_details("as a table", html_table(rows)));
}

std::string positions_html(const Report& report, std::size_t t) {
  Rows rows = {{"position below", "queries"}};
  for (std::size_t b = 0; b < report.overlap.bucket_ends.size(); ++b) {
    rows.push_back({fmt::format("{}", report.overlap.bucket_ends[b]),
                    fmt::format("{}", report.overlap.queries[b])});
  }
  return html_section("Does overlap fall with position?",
                      "Overlap of neighboring layers, and of this target's shared layers with "
                      "their donors.",
                      position_lines(report, report.result.targets[t]).inline_text() +
                          html_details("queries, as a table", html_table(rows)),
                      of_target(report.result, t));
}

std::string sequences_html(const Result& result, std::size_t t) {
  const Target& target = result.targets[t];
  const Measured& measured = shown_measure(target);
  const char* where = target.holdout ? "held-out" : "calibration";
  Rows rows = {{fmt::format("{} sequence", where), "loss increase"}};
  for (const auto& [sequence, delta] : worst_sequences(measured, 5)) {
    rows.push_back({number(sequence), four(delta)});
  }
  Rows all = {rows[0]};
  for (const double delta : measured.delta.per_sequence) {
    all.push_back({number(all.size() - 1), four(delta)});
  }
  return html_section(
      "Do a few sequences dominate the mean?",
      fmt::format("Loss increase of each {} sequence. The worst ones are labeled.", where),
      sequence_bars(measured.delta, fmt::format("Loss increase of each {} sequence", where))
              .inline_text() +
          html_table(rows) + html_details("all sequences", html_table(all)),
      of_target(result, t));
}

std::string cost_html(const Result& result, std::size_t t) {
  Rows rows = {
      {"context", "indexer TFLOP", "with this pattern", "index keys MB", "with this pattern"}};
  for (const IndexerCost& cost : indexer_costs(result, result.targets[t])) {
    rows.push_back({fmt::format("{}K", cost.context / 1024),
                    fmt::format("{:.3g}", cost.teraflop_before),
                    fmt::format("{:.3g}", cost.teraflop_after),
                    fmt::format("{:.3g}", cost.kept_megabytes_before),
                    fmt::format("{:.3g}", cost.kept_megabytes_after)});
  }
  const std::string work = result.model.indexer
                               ? "2 heads x width x the keys and blocks that HISA scores"
                               : "heads x width x context²";
  return html_section(
      "What does a prefill save?",
      "Calculated, not measured: " + work +
          " per layer that runs its indexer; index keys in FP8, if the engine frees them. "
          "Attention, experts and the rest are unchanged.",
      html_table(rows), of_target(result, t));
}

std::string documents_text(const DocumentAccount& account) {
  const SourceAccount total = account.total();
  return fmt::format(
      "{} read, {} used, {} truncated; dropped: {} empty, {} invalid, {} too short, "
      "{} duplicate; {} not needed",
      total.read, total.used, total.truncated, total.empty, total.invalid, total.too_short,
      total.duplicate, total.unused);
}

std::string provenance_html(const Result& result) {
  const Provenance& provenance = result.provenance;
  std::vector<std::pair<std::string, std::string>> facts = {
      {"program", fmt::format("indexcache-search {}, numerics version {}", provenance.tool_version,
                              provenance.numerics_version)},
      {"device", device_text(provenance)},
      {"written", provenance.created_at},
      {"model", fmt::format("{}, {}, {} layers, top-{}, {} indexer", result.model.name,
                            result.model.architecture, result.model.layers, result.model.index_topk,
                            indexer_text(result.model.indexer))},
      {"search", methods_text(result)},
      {"loss with every indexer", fmt::format("{:.5f} nats per token", result.baseline_loss)},
      {"baseline", result.baseline.text()},
      {"calibration", tokens_text(result.calibration)},
      {"held out", result.holdout ? tokens_text(result.holdout->tokens) : "none"}};
  if (const std::string races = race_text(result); !races.empty()) {
    facts.emplace_back("races", races);
  }
  if (result.calibration.prepared) {
    facts.emplace_back("documents", documents_text(*result.calibration.prepared));
  }
  facts.emplace_back("constraints", to_json(result.constraints, result.baseline).dump());
  facts.insert(facts.end(), result.fingerprint.begin(), result.fingerprint.end());
  return html_section("Data and provenance", "Everything that is needed to repeat the run.",
                      html_facts(facts));
}

}  // namespace

std::string report_html(const Report& report) {
  const Result& result = report.result;
  const Provenance& provenance = result.provenance;
  const auto found = segments_report(result);
  const SegmentsReport* segments = found ? &*found : nullptr;
  std::string body = fmt::format(
      "<h1>{}</h1>\n<p class=\"muted\">IndexCache pattern, searched by {} · {} · {}</p>\n",
      escape_markup(result.model.name), name_of(result.settings.objective),
      escape_markup(provenance.device), escape_markup(provenance.created_at));
  body += html_warnings(result.warnings) + selector_html(result);
  const std::size_t targets = result.targets.size();
  for (std::size_t t = 0; t < targets; ++t) body += card_html(result, t);
  body += "<div class=\"grid\">\n";
  for (std::size_t t = 0; t < targets; ++t) body += strip_html(report, t);
  for (std::size_t t = 0; t < targets; ++t) {
    body += comparison_html(result.targets[t], of_target(result, t));
  }
  body += curve_html(result, segments) + heatmap_html(report);
  if (segments != nullptr) {
    // The triangle next to the heatmap, which has the same axes.
    body += triangle_html(result, *segments) + sizes_html(result, *segments) +
            predictions_html(*segments);
  }
  body += sensitivity_html(result) + steps_html(result) + scatter_html(report);
  for (std::size_t t = 0; t < targets; ++t) {
    body += fidelity_html(result.targets[t], of_target(result, t)) + positions_html(report, t) +
            sequences_html(result, t) + cost_html(result, t);
  }
  if (report.profile) body += profile_html(*report.profile);
  body += provenance_html(result) + "</div>\n";
  return html_document("IndexCache: " + result.model.name, body);
}

std::vector<std::pair<std::string, Svg>> report_charts(const Report& report) {
  const Result& result = report.result;
  const Target& target = result.targets.back();
  const auto segments = segments_report(result);
  std::vector<std::pair<std::string, Svg>> charts = {
      {"pattern", pattern_strip(target.calibration.pattern)},
      {"loss", loss_curve(result, segments ? &*segments : nullptr)},
      {"overlap", overlap_heatmap(report)},
      {"sensitivity", sensitivity_bars(result)},
      {"steps", step_heatmap(result)},
      {"overlap-cost", overlap_scatter(report)},
      {"positions", position_lines(report, target)},
      {"sequences", sequence_bars(shown_measure(target).delta,
                                  target.holdout ? "Loss increase of each held-out sequence"
                                                 : "Loss increase of each calibration sequence")}};
  if (segments) charts.emplace_back("segments", segment_triangle(result, *segments));
  if (segments && !segments->predictions.empty()) {
    charts.emplace_back("additivity", prediction_scatter(*segments));
  }
  if (report.profile && !report.profile->prefill.empty()) {
    charts.emplace_back("prefill-parts", part_shares(*report.profile));
    charts.emplace_back("prefill-speed-up", speed_up_lines(*report.profile));
  }
  return charts;
}

}  // namespace indexcache
