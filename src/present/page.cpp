// SPDX-License-Identifier: Apache-2.0
#include "present/page.h"

#include "core/error.h"
#include "present/charts.h"
#include "present/html.h"
#include "present/summary_text.h"
#include "result/stored_result.h"
#include "serving/engine_export.h"

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

std::string plain(const Json& json) {
  return json.is_string() ? json.get<std::string>() : json.dump();
}

// Attributes of a block that belongs to one target; the last, smallest one shows at first.
std::string of_target(const RunView& view, std::size_t t, const std::string& css = "") {
  return fmt::format("class=\"target{}{}\" data-target=\"{}\"",
                     t + 1 == view.targets.size() ? " on" : "", css, t);
}

ServedModel served(const RunView& view) {
  return {.architecture = plain(view.model.at("architecture")),
          .has_indexer = indexer_mask(view.model, view.layers),
          .config = {}};
}

// What to paste: the engines most used first, the others folded away.
std::string engines_html(const RunView& view, const TargetView& target) {
  const ServedModel model = served(view);
  std::string first;
  std::string others;
  for (const EngineProfile* profile : newest_profiles()) {
    std::string& place = profile->shown_first ? first : others;
    try {
      const EngineExport result = export_pattern(*profile, target.pattern, model, {});
      place += html_copy(title_of(*profile), result.text.substr(0, result.text.size() - 1));
    } catch (const InputError& error) {
      place += fmt::format("<p class=\"muted\">{}: {}</p>\n", escape_markup(profile->name),
                           escape_markup(error.problem().why));
    }
  }
  return first + fmt::format("<details><summary>other engines</summary>{}</details>\n", others);
}

std::string fact_html(const std::string& value, const std::string& label) {
  return fmt::format("<div><b>{}</b>{}</div>\n", escape_markup(value), escape_markup(label));
}

std::string facts_html(const RunView& view, const TargetView& target) {
  const Rise& told = target.holdout ? *target.holdout : target.calibration;
  const char* where = target.holdout ? "held-out" : "calibration";
  std::string text =
      fact_html(fmt::format("{} of {}", target.pattern.full_count(), view.layers),
                fmt::format("layers keep their indexer: {:.0f} % of indexer work gone",
                            saved_percent(view, target)));
  text += fact_html(perplexity_text(told.mean), fmt::format("{} perplexity", where));
  text += fact_html(four(told.mean),
                    told.low ? fmt::format("{} loss, nats a token; 95 % {} to {}", where,
                                           four(*told.low), four(*told.high))
                             : fmt::format("{} loss, nats a token; no interval", where));
  const Json& tokens = target.holdout ? view.holdout : view.calibration;
  text += fact_html(plain(tokens.at("sequences")),
                    fmt::format("{} sequences, {} tokens", where, plain(tokens.at("tokens"))));
  return "<div class=\"facts\">\n" + text + "</div>\n";
}

std::string card_html(const RunView& view, std::size_t t) {
  const TargetView& target = view.targets[t];
  const VerdictText verdict = verdict_of(view, target);
  std::string text =
      fmt::format("<div {}>\n<p class=\"verdict {}\">{}</p>\n", of_target(view, t, " card"),
                  verdict.good ? "good" : "bad", escape_markup(verdict.text));
  text += facts_html(view, target);
  text += html_copy("pattern, a character a decoder layer", target.pattern.text());
  text += engines_html(view, target);
  return text + "</div>\n";
}

std::string selector_html(const RunView& view) {
  if (view.targets.size() < 2) return "";
  std::string text = "<fieldset><legend class=\"muted\">target</legend>\n";
  for (std::size_t t = 0; t < view.targets.size(); ++t) {
    text += fmt::format(
        "<label><input type=\"radio\" name=\"target\" value=\"{}\"{}> {} ({} F)</label>\n", t,
        t + 1 == view.targets.size() ? " checked" : "", escape_markup(view.targets[t].request),
        view.targets[t].pattern.full_count());
  }
  return text + "</fieldset>\n";
}

std::string strip_html(const RunView& view, std::size_t t) {
  const Pattern& pattern = view.targets[t].pattern;
  Rows rows = {{"layer", "runs its indexer", "donor", "distance", "overlap with donor"}};
  for (std::size_t layer = 0; layer < view.layers; ++layer) {
    const std::size_t donor = pattern.donor(layer);
    rows.push_back(pattern.is_full(layer)
                       ? std::vector<std::string>{number(layer), "yes", "", "", ""}
                       : std::vector<std::string>{number(layer), "no", number(donor),
                                                  number(layer - donor),
                                                  share(view.overlap.mean(layer, donor))});
  }
  return html_section(
      "Which layers run their indexer?",
      "F runs it; S takes the set of the layer that is named below it.",
      pattern_strip(pattern).inline_text() + html_details("as a table", html_table(rows)),
      of_target(view, t));
}

std::string heatmap_html(const RunView& view) {
  Rows rows = {{"layer"}};
  for (std::size_t j = 0; j < view.layers; ++j) rows[0].push_back(number(j));
  for (std::size_t i = 0; i < view.layers; ++i) {
    rows.push_back({number(i)});
    for (std::size_t j = 0; j < view.layers; ++j) {
      rows.back().push_back(fmt::format("{:.2f}", view.overlap.mean(i, j)));
    }
  }
  return html_section(
      "How alike are the layers' top-k sets?",
      "Red frames: blocks of layers that agree. Small frames: each shared layer (row) and its "
      "donor (column).",
      "<div id=\"heatmap\">" + overlap_heatmap(view).inline_text() +
          "</div>\n<p class=\"muted\" id=\"heatmap-value\">point at a cell to read it</p>\n" +
          html_details("as a table", html_table(rows, "heatmap-table")));
}

std::string curve_html(const RunView& view) {
  Rows rows = {{"removed", "layer", "loss rise", "runner-up behind by", "pattern"}};
  for (std::size_t s = 0; s < view.steps.size(); ++s) {
    const StepView& step = view.steps[s];
    double second = HUGE_VAL;
    for (const CandidateView& candidate : step.candidates) {
      if (candidate.layer != step.removed) second = std::min(second, candidate.rise);
    }
    rows.push_back({number(s + 1), number(step.removed), four(step.rise),
                    std::isinf(second) ? "" : fmt::format("{:.4f}", second - step.rise),
                    step.pattern.text()});
  }
  std::string caption = "Greedy search on calibration data; targets on held-out data.";
  if (const auto knee = view.knee()) {
    caption += fmt::format(" The curve bends at {} removed.", *knee);
  }
  return html_section(
      "What does each removed indexer cost?", caption,
      loss_curve(view).inline_text() + html_details("as a table", html_table(rows)));
}

std::string sensitivity_html(const RunView& view) {
  auto candidates = view.sensitivity();
  std::ranges::stable_sort(candidates, std::greater<>(), &CandidateView::rise);
  Rows rows = {{"layer", "loss rise when it alone is shared"}};
  std::vector<std::size_t> most;
  for (const CandidateView& candidate : candidates) {
    rows.push_back({number(candidate.layer), four(candidate.rise)});
    if (most.size() < 3) most.push_back(candidate.layer);
  }
  return html_section(
      "Which layers must keep their indexer?",
      most.empty() ? "No step had a choice."
                   : fmt::format("Loss rise when one layer alone is shared. Most sensitive: {}.",
                                 fmt::join(most, ", ")),
      sensitivity_bars(view).inline_text() + html_details("sorted, as a table", html_table(rows)));
}

std::string steps_html(const RunView& view) {
  Rows rows = {{"step", "layer", "change of the loss"}};
  double before = 0;
  for (std::size_t s = 0; s < view.steps.size(); ++s) {
    for (const CandidateView& candidate : view.steps[s].candidates) {
      rows.push_back({number(s + 1), number(candidate.layer), four(candidate.rise - before)});
    }
    before = view.steps[s].rise;
  }
  return html_section(
      "How do the costs move while donors vanish?",
      "Every candidate of every step: blue lowers the loss, red raises it. A ring "
      "is the layer that was shared.",
      step_heatmap(view).inline_text() + html_details("as a table", html_table(rows)));
}

std::string scatter_html(const RunView& view) {
  const auto costs = overlap_costs(view);
  std::vector<double> overlaps;
  std::vector<double> rises;
  Rows rows = {{"layer", "overlap with the layer before", "loss rise"}};
  for (const OverlapCost& cost : costs) {
    overlaps.push_back(cost.overlap);
    rises.push_back(cost.rise);
    rows.push_back({number(cost.layer), share(cost.overlap), four(cost.rise)});
  }
  const auto rank = rank_correlation(overlaps, rises);
  return html_section(
      "Does overlap foretell the cost?",
      rank ? fmt::format("A point a layer. Rank correlation {:+.2f} ({}).", *rank,
                         *rank < -0.5 ? "high overlap goes with low cost"
                                      : "overlap alone would not have found the pattern")
           : "Too few layers for a rank correlation.",
      overlap_scatter(view).inline_text() + html_details("as a table", html_table(rows)));
}

std::string positions_html(const RunView& view, std::size_t t) {
  Rows rows = {{"position below", "queries"}};
  for (std::size_t b = 0; b < view.overlap.bucket_ends.size(); ++b) {
    rows.push_back({fmt::format("{}", view.overlap.bucket_ends[b]),
                    fmt::format("{}", view.overlap.queries[b])});
  }
  return html_section("Does overlap fall with position?",
                      "Overlap of neighboring layers, and of this target's shared layers with "
                      "their donors.",
                      position_lines(view, view.targets[t]).inline_text() +
                          html_details("queries, as a table", html_table(rows)),
                      of_target(view, t));
}

std::string sequences_html(const RunView& view, std::size_t t) {
  const TargetView& target = view.targets[t];
  const Rise& rise = target.holdout ? *target.holdout : target.calibration;
  const char* where = target.holdout ? "held-out" : "calibration";
  Rows rows = {{fmt::format("{} sequence", where), "loss rise"}};
  for (const auto& [sequence, delta] : worst_sequences(rise, 5)) {
    rows.push_back({number(sequence), four(delta)});
  }
  Rows all = {rows[0]};
  for (std::size_t s = 0; s < rise.sequences.size(); ++s) {
    all.push_back({number(s), four(rise.sequences[s])});
  }
  return html_section(
      "Is the mean carried by a few sequences?",
      fmt::format("Loss rise of each {} sequence. The worst are named.", where),
      sequence_bars(rise, fmt::format("Loss rise of each {} sequence", where)).inline_text() +
          html_table(rows) + html_details("all sequences", html_table(all)),
      of_target(view, t));
}

std::string cost_html(const RunView& view, std::size_t t) {
  Rows rows = {
      {"context", "indexer TFLOP", "with this pattern", "index keys MB", "with this pattern"}};
  for (const IndexerCost& cost : indexer_costs(view, view.targets[t])) {
    rows.push_back({fmt::format("{}K", cost.context / 1024),
                    fmt::format("{:.3g}", cost.teraflop_before),
                    fmt::format("{:.3g}", cost.teraflop_after),
                    fmt::format("{:.3g}", cost.kept_megabytes_before),
                    fmt::format("{:.3g}", cost.kept_megabytes_after)});
  }
  return html_section(
      "What is saved in a prefill?",
      "A model, not a measurement: heads x width x context² a layer that runs its indexer; index "
      "keys in FP8, where the engine frees them. Attention, experts and the rest are unchanged.",
      html_table(rows), of_target(view, t));
}

std::string bench_html(const RunView& view) {
  if (view.bench.empty()) return "";
  Rows rows = {{"context", "pattern", "ms", "speed-up", "stages, ms"}};
  for (const BenchView& row : view.bench) {
    std::vector<std::string> stages;
    for (const auto& [stage, milliseconds] : row.stages) {
      stages.push_back(fmt::format("{} {:.1f}", stage, milliseconds));
    }
    rows.push_back({fmt::format("{}", row.context),
                    fmt::format("{} F", std::ranges::count(row.pattern, 'F')),
                    fmt::format("{:.1f}", row.milliseconds),
                    row.speed_up ? fmt::format("{:.2f}x", *row.speed_up) : "",
                    fmt::format("{}", fmt::join(stages, ", "))});
  }
  return html_section("What was measured?", "bench prefill of this model (bench.json).",
                      html_table(rows));
}

std::string tokens_text(const Json& tokens) {
  if (tokens.is_null()) return "none";
  return fmt::format("{}: {} sequences, {} tokens, longest {}, SHA-256 {}",
                     plain(tokens.at("source")), plain(tokens.at("sequences")),
                     plain(tokens.at("tokens")), plain(tokens.at("longest")),
                     plain(tokens.at("sha256")));
}

std::string provenance_html(const RunView& view) {
  std::vector<std::pair<std::string, std::string>> facts = {
      {"program",
       fmt::format("{} {}, numerics version {}", plain(view.tool.at("name")),
                   plain(view.tool.at("version")), plain(view.tool.at("numerics_version")))},
      {"device", view.device},
      {"written", view.created},
      {"model",
       fmt::format("{}, {}, {} layers, top-{}", view.name, plain(view.model.at("architecture")),
                   view.layers, plain(view.model.at("index_topk")))},
      {"loss with every indexer", fmt::format("{:.5f} nats a token", view.baseline_loss)},
      {"baseline", view.baseline.text()},
      {"calibration", tokens_text(view.calibration)},
      {"held out", tokens_text(view.holdout)}};
  const Json prepared = view.calibration.value("prepared", Json());
  if (prepared.is_object() && prepared.contains("total")) {
    facts.emplace_back("documents", prepared["total"].value("documents", Json()).dump());
  }
  facts.emplace_back("constraints", view.settings.value("constraints", Json()).dump());
  for (const auto& [field, value] : view.fingerprint.items())
    facts.emplace_back(field, plain(value));
  return html_section("Data and provenance", "Enough to repeat it.", html_facts(facts));
}

std::string warnings_html(const RunView& view) {
  std::string text;
  for (const std::string& warning : view.warnings) {
    text += fmt::format("<p class=\"warning\">{}</p>\n", escape_markup(warning));
  }
  return text;
}

}  // namespace

std::string report_html(const RunView& view) {
  std::string body = fmt::format(
      "<h1>{}</h1>\n<p class=\"muted\">IndexCache pattern, searched by loss · {} · {}</p>\n",
      escape_markup(view.name), escape_markup(view.device), escape_markup(view.created));
  body += warnings_html(view) + selector_html(view);
  for (std::size_t t = 0; t < view.targets.size(); ++t) body += card_html(view, t);
  body += "<div class=\"grid\">\n";
  for (std::size_t t = 0; t < view.targets.size(); ++t) body += strip_html(view, t);
  body += curve_html(view) + heatmap_html(view) + sensitivity_html(view) + steps_html(view) +
          scatter_html(view);
  for (std::size_t t = 0; t < view.targets.size(); ++t) {
    body += positions_html(view, t) + sequences_html(view, t) + cost_html(view, t);
  }
  body += bench_html(view) + provenance_html(view) + "</div>\n";
  return html_document("IndexCache: " + view.name, body);
}

std::vector<std::pair<std::string, Svg>> report_charts(const RunView& view) {
  const TargetView& target = view.targets.back();
  const bool held = target.holdout.has_value();
  return {{"pattern", pattern_strip(target.pattern)},
          {"loss", loss_curve(view)},
          {"overlap", overlap_heatmap(view)},
          {"sensitivity", sensitivity_bars(view)},
          {"steps", step_heatmap(view)},
          {"overlap-cost", overlap_scatter(view)},
          {"positions", position_lines(view, target)},
          {"sequences", sequence_bars(held ? *target.holdout : target.calibration,
                                      held ? "Loss rise of each held-out sequence"
                                           : "Loss rise of each calibration sequence")}};
}

}  // namespace indexcache
