// SPDX-License-Identifier: Apache-2.0
// The report as Markdown and as numbers.
#include "core/count_text.h"
#include "present/charts.h"
#include "present/escape.h"
#include "present/page.h"
#include "present/search_curve.h"
#include "present/segments_report.h"
#include "present/sharing_doubts.h"
#include "present/target_text.h"
#include "profile/profile_json.h"

#include <fmt/format.h>

namespace indexcache {
namespace {

Json measured_json(const std::optional<Measured>& measured) {
  if (!measured) return nullptr;
  const PairedDifference& delta = measured->delta;
  return Json{{"mean", delta.mean},
              {"low", delta.ci95 ? Json(delta.ci95->first) : Json()},
              {"high", delta.ci95 ? Json(delta.ci95->second) : Json()},
              {"sequences", delta.per_sequence}};
}

Json contender_json(const Contender& contender) {
  const auto& ci95 = contender.ci95;
  return Json{{"method", contender.method},
              {"pattern", contender.pattern.text()},
              {"difference", contender.difference},
              {"low", ci95 ? Json(ci95->first) : Json()},
              {"high", ci95 ? Json(ci95->second) : Json()}};
}

Json target_json(const Result& result, const Target& target) {
  Json costs = Json::array();
  for (const IndexerCost& cost : indexer_costs(result, target)) {
    costs.push_back(Json{{"context", cost.context},
                         {"teraflop_before", cost.teraflop_before},
                         {"teraflop_after", cost.teraflop_after},
                         {"index_keys_mb_before", cost.kept_megabytes_before},
                         {"index_keys_mb_after", cost.kept_megabytes_after}});
  }
  Json strategies = Json::array(), ties = Json::array();
  for (const Contender& strategy : target.strategies) {
    strategies.push_back(contender_json(strategy));
  }
  for (const Contender& tie : target.ties) ties.push_back(contender_json(tie));
  Json compared = Json::array(), halves = Json::array();
  for (const ComparedPattern& other : target.compared) {
    compared.push_back(Json{{"name", other.name},
                            {"pattern", other.holdout.pattern.text()},
                            {"holdout", measured_json(other.holdout)}});
  }
  for (const HalfChoice& half : target.halves) {
    halves.push_back(Json{{"pattern", half.pattern.text()}, {"regret", half.regret}});
  }
  const auto& fidelity = shown_measure(target).fidelity;
  return Json{{"request", target.request},
              {"method", target.method},
              {"pattern", target.calibration.pattern.text()},
              {"verdict", verdict_of(target).text},
              {"saved_percent", saved_percent(result, target)},
              {"calibration", measured_json(target.calibration)},
              {"holdout", measured_json(target.holdout)},
              {"uniform", measured_json(target.uniform_holdout)},
              {"strategies", strategies},
              {"ties", ties},
              {"stability", halves},
              {"compared", compared},
              {"random", target.random_holdout ? Json(target.random_holdout->mean) : Json()},
              {"same_top1", fidelity ? Json(fidelity->same_top1) : Json()},
              {"kl_mean", fidelity ? Json(fidelity->kl_mean) : Json()},
              {"predicted_cost", costs}};
}

Json search_json(const Result& result, const SearchPath& search) {
  const std::vector<CurvePoint> curve = search_curve(result, search);
  Json points = Json::array();
  for (const CurvePoint& point : curve) {
    points.push_back(Json{{"removed", point.removed}, {"rise", point.rise}});
  }
  const auto bend = knee(curve);
  return Json{{"method", search.method},
              {"curve", points},
              {"knee", bend ? Json(curve[*bend].removed) : Json()}};
}

Json sizes_json(const std::optional<SegmentsReport>& segments) {
  Json sizes = Json::array();
  if (!segments) return sizes;
  for (const SizePoint& point : segments->sizes) {
    sizes.push_back(Json{{"full", point.full},
                         {"pattern", point.pattern.text()},
                         {"predicted", point.predicted},
                         {"measured", point.measured ? Json(*point.measured) : Json()}});
  }
  return sizes;
}

Json knee_json(const std::optional<SegmentsReport>& segments) {
  if (!segments || !segments->knee) return nullptr;
  const SizePoint& bend = segments->sizes[*segments->knee];
  return Json{{"full", bend.full}, {"increase", bend.predicted}};
}

const char* constraint_key(ConstraintPrice::Kind kind) {
  switch (kind) {
    case ConstraintPrice::Kind::pins:
      return "pins";
    case ConstraintPrice::Kind::max_run:
      return "max_run";
    case ConstraintPrice::Kind::stages:
      break;
  }
  return "stages";
}

Json prices_json(const std::optional<SegmentsReport>& segments) {
  Json prices = Json::array();
  if (!segments) return prices;
  for (const ConstraintPrice& price : segments->prices) {
    Json row{{"constraint", constraint_key(price.kind)}};
    if (price.kind != ConstraintPrice::Kind::pins) row[constraint_key(price.kind)] = price.number;
    row["full"] = price.full;
    row["possible"] = price.possible;
    row["price"] = price.price ? Json(*price.price) : Json();
    prices.push_back(row);
  }
  return prices;
}

Json predictions_json(const std::optional<SegmentsReport>& segments) {
  if (!segments || segments->predictions.empty()) return nullptr;
  const PredictionQuality quality = prediction_quality(segments->predictions);
  const auto& rank = quality.rank_correlation;
  return Json{{"patterns", segments->predictions.size()},
              {"largest_difference", quality.worst->measured - quality.worst->predicted},
              {"rank_correlation", rank ? Json(*rank) : Json()}};
}

std::string target_markdown(const Result& result, const Target& target) {
  const Pattern& pattern = target.calibration.pattern;
  std::string text = fmt::format(
      "**{} of {} layers keep their indexer** ({:.0f}% of indexer work removed; found by {}). "
      "{}\n\n```\n{}\n```\n\n",
      pattern.full_count(), pattern.layers(), saved_percent(result, target),
      escape_markdown(target.method), verdict_of(target).text, pattern.text());
  if (result.model.indexer) {
    text += fmt::format("Measured with the indexer `{}`.\n\n", indexer_text(result.model.indexer));
  }
  text += "| | loss increase, nats per token |\n|---|---|\n";
  text += fmt::format("| calibration | {} |\n", rise_text(target.calibration));
  if (target.holdout) text += fmt::format("| held out | {} |\n", rise_text(*target.holdout));
  if (target.uniform_holdout) {
    text += fmt::format("| uniform, held out | {} |\n", rise_text(*target.uniform_holdout));
  }
  if (target.distilled) {
    text += fmt::format("| with the indexers in {} | {} |\n", target.distilled->folder,
                        delta_text(target.distilled->with.mean));
    if (target.distilled->without) {
      text += fmt::format("| with the released indexers | {} |\n",
                          delta_text(target.distilled->without->mean));
    }
  }
  for (const ComparedPattern& other : target.compared) {
    if (other.holdout.pattern == pattern) continue;
    text += fmt::format("| by {}, held out | {} |\n", escape_markdown(other.name),
                        rise_text(other.holdout));
  }
  if (const auto& fidelity = shown_measure(target).fidelity) {
    text += fmt::format(
        "\n{:.2f}% of tokens beyond index_topk keep their most likely token; KL "
        "divergence {:.4f} nats per token\n",
        100 * fidelity->same_top1, fidelity->kl_mean);
  }
  for (const std::string& doubt : sharing_doubts(result, target)) {
    text += fmt::format("\n{}\n", escape_markdown(doubt));
  }
  return text + "\n";
}

// Speed-ups of the patterns by context.
std::string profile_markdown(const Profile& profile) {
  std::string head = "| tokens of a prefill |", rule = "|---|", rows;
  for (std::size_t p = 1; p < profile.patterns.size(); ++p) {
    head += fmt::format(" {} |", escape_markdown(profile.patterns[p].name));
    rule += "---|";
  }
  for (const ProfilePoint& point : profile.prefill) {
    rows += fmt::format("| {} |", count_text(point.context));
    for (std::size_t p = 1; p < profile.patterns.size(); ++p) {
      rows += fmt::format(" {:.2f}x |", point.speed_up(p));
    }
    rows += fmt::format(" {:.2f}x |\n", point.limit());
  }
  return fmt::format("{} limit of any |\n{}---|\n{}\nMeasured on {}\n\n", head, rule, rows,
                     escape_markdown(profile.device));
}

}  // namespace

std::string report_markdown(const Report& report) {
  const Result& result = report.result;
  std::string text =
      fmt::format("### IndexCache pattern for {}\n\n", escape_markdown(result.model.name));
  for (std::size_t t = result.targets.size(); t-- > 0;) {
    text += target_markdown(result, result.targets[t]);
  }
  if (report.profile) text += profile_markdown(*report.profile);
  for (const std::string& warning : result.warnings) {
    text += fmt::format("> **Warning:** {}\n\n", escape_markdown(warning));
  }
  return text + fmt::format("{}, {}\n", escape_markdown(result.provenance.device),
                            escape_markdown(result.provenance.created_at));
}

Json report_json(const Report& report) {
  const Result& result = report.result;
  Json targets = Json::array();
  for (const Target& target : result.targets) targets.push_back(target_json(result, target));
  Json searches = Json::array();
  for (const SearchPath& search : result.searches) {
    searches.push_back(search_json(result, search));
  }
  const auto segments = segments_report(result);
  const auto savings = race_savings(result);
  Json layers = Json::array();
  for (const OverlapCost& cost : overlap_costs(report)) {
    layers.push_back(Json{{"layer", cost.layer}, {"overlap", cost.overlap}, {"rise", cost.rise}});
  }
  return Json{{"schema", "indexcache-report/2"},
              {"model", result.model.name},
              {"layers", result.model.layers},
              {"baseline_loss", result.baseline_loss},
              {"objective", name_of(result.settings.objective)},
              {"races", savings ? Json{{"confidence", *result.settings.race_confidence},
                                       {"saved", savings->saved},
                                       {"evaluations", savings->all}}
                                : Json()},
              {"targets", targets},
              {"searches", searches},
              {"sizes", sizes_json(segments)},
              {"knee", knee_json(segments)},
              {"constraint_prices", prices_json(segments)},
              {"predictions", predictions_json(segments)},
              {"sensitivity", layers},
              {"profile", report.profile ? to_json(*report.profile) : Json()}};
}

}  // namespace indexcache
