// SPDX-License-Identifier: Apache-2.0
// The report as Markdown and as numbers.
#include "present/charts.h"
#include "present/page.h"
#include "present/summary_text.h"

#include <fmt/format.h>

namespace indexcache {
namespace {

// Plain text in Markdown: markup of both Markdown and HTML as entities, one line.
std::string plain_markdown(const std::string& text) {
  std::string out;
  for (const char letter : escape_markup(text)) {
    switch (letter) {
      case '|':
        out += "&#124;";
        break;
      case '\n':
      case '\t':
        out += ' ';
        break;
      case '*':
      case '_':
      case '`':
      case '[':
      case ']':
      case '\\':
      case '~':
      case '@':
        out += fmt::format("&#{};", static_cast<int>(letter));
        break;
      default:
        out += letter;
    }
  }
  return out;
}

Json rise_json(const std::optional<Rise>& rise) {
  if (!rise) return nullptr;
  return Json{{"mean", rise->mean},
              {"low", rise->low ? Json(*rise->low) : Json()},
              {"high", rise->high ? Json(*rise->high) : Json()},
              {"sequences", rise->sequences}};
}

Json target_json(const RunView& view, const TargetView& target) {
  Json costs = Json::array();
  for (const IndexerCost& cost : indexer_costs(view, target)) {
    costs.push_back(Json{{"context", cost.context},
                         {"teraflop_before", cost.teraflop_before},
                         {"teraflop_after", cost.teraflop_after},
                         {"index_keys_mb_before", cost.kept_megabytes_before},
                         {"index_keys_mb_after", cost.kept_megabytes_after}});
  }
  const VerdictText verdict = verdict_of(view, target);
  return Json{{"request", target.request},
              {"pattern", target.pattern.text()},
              {"verdict", verdict.text},
              {"saved_percent", saved_percent(view, target)},
              {"calibration", rise_json(target.calibration)},
              {"holdout", rise_json(target.holdout)},
              {"uniform", rise_json(target.uniform)},
              {"predicted_cost", costs}};
}

}  // namespace

std::string report_markdown(const RunView& view) {
  std::string text = fmt::format("### IndexCache pattern for {}\n\n", plain_markdown(view.name));
  for (std::size_t t = view.targets.size(); t-- > 0;) {
    const TargetView& target = view.targets[t];
    text += fmt::format(
        "**{} of {} layers keep their indexer** ({:.0f} % of indexer work gone). {}\n\n",
        target.pattern.full_count(), view.layers, saved_percent(view, target),
        verdict_of(view, target).text);
    text += fmt::format("```\n{}\n```\n\n", target.pattern.text());
    text += "| | loss rise, nats a token |\n|---|---|\n";
    text += fmt::format("| calibration | {} |\n", rise_text(target.calibration));
    if (target.holdout) text += fmt::format("| held out | {} |\n", rise_text(*target.holdout));
    if (target.uniform)
      text += fmt::format("| uniform, held out | {} |\n", rise_text(*target.uniform));
    text += "\n";
  }
  for (const std::string& warning : view.warnings) {
    text += fmt::format("> **Warning:** {}\n\n", plain_markdown(warning));
  }
  return text + fmt::format("{}, {}\n", plain_markdown(view.device), plain_markdown(view.created));
}

Json report_json(const RunView& view) {
  Json targets = Json::array();
  for (const TargetView& target : view.targets) targets.push_back(target_json(view, target));
  Json curve = Json::array();
  for (const auto& [removed, rise] : view.curve()) {
    curve.push_back(Json{{"removed", removed}, {"rise", rise}});
  }
  Json layers = Json::array();
  for (const OverlapCost& cost : overlap_costs(view)) {
    layers.push_back(Json{{"layer", cost.layer}, {"overlap", cost.overlap}, {"rise", cost.rise}});
  }
  return Json{{"schema", "indexcache-report/1"},
              {"model", view.name},
              {"layers", view.layers},
              {"baseline_loss", view.baseline_loss},
              {"targets", targets},
              {"curve", curve},
              {"knee", view.knee() ? Json(*view.knee()) : Json()},
              {"sensitivity", layers}};
}

}  // namespace indexcache
