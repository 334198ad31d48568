// SPDX-License-Identifier: Apache-2.0
// What a report says about segments, on tables that are small enough to work out by hand or to try
// every pattern.
#include "present/segments_report.h"

#include "present/charts.h"
#include "present/page.h"
#include "present/synthetic_run.h"
#include "search/constraints.h"
#include "support/catch.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <random>

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

// Four layers; all segments of at most `longest` layers were measured.
Report four_layers(std::size_t longest) {
  static const std::map<PatternSegment, double> costs = {{{0, 2}, 0.01}, {{0, 3}, 0.03},
                                                         {{0, 4}, 0.08}, {{1, 3}, 0.02},
                                                         {{1, 4}, 0.05}, {{2, 4}, 0.004}};
  Report report = synthetic_report("x", Pattern::parse("FSFS"));
  report.result.searches.clear();
  add_segments(
      report, [&](const PatternSegment& segment) { return costs.at(segment); }, longest);
  return report;
}

// Eight layers with costs that follow no rule, targets of six and four F layers, and the
// constraints of a deployment.
Report eight_layers() {
  Report report = synthetic_report("x", Pattern::parse("FSFFSSFS"));
  report.result.searches.clear();
  auto engine = std::make_shared<std::mt19937>(11);
  const auto cost = [engine](const PatternSegment&) {
    return 0.0001 * static_cast<double>((*engine)() % 1000) - 0.005;
  };
  add_segments(report, cost, 8);
  report.result.constraints.pinned_full[3] = true;
  report.result.constraints.pinned_shared[5] = true;
  report.result.constraints.max_run = 2;
  return report;
}

using Rule = std::function<bool(const Pattern&)>;

// The smallest predicted loss increase of all patterns of eight layers that follow the rule;
// infinity if there is none.
double best_of_all(const SegmentTable& table, std::size_t full, const Rule& rule) {
  double best = std::numeric_limits<double>::infinity();
  for (unsigned shared = 0; shared < 128; ++shared) {
    Pattern pattern = Pattern::all_full(8);
    for (std::size_t layer = 1; layer < 8; ++layer) {
      if (shared >> (layer - 1) & 1) pattern = pattern.with_shared(layer);
    }
    if (pattern.full_count() == full && rule(pattern))
      best = std::min(best, *table.predict(pattern));
  }
  return best;
}

}  // namespace

TEST_CASE(
    "every size is the cheapest sum of segments, and the knee is that of the predicted curve") {
  const Report report = four_layers(4);
  const auto segments = segments_report(report.result);
  REQUIRE(segments);
  REQUIRE(segments->sizes.size() == 4);
  const std::vector<std::string> patterns = {"FFFF", "FFFS", "FSFS", "FSSS"};
  const std::vector<double> increases = {0, 0.004, 0.01 + 0.004, 0.08};
  for (std::size_t i = 0; i < 4; ++i) {
    INFO(patterns[i]);
    CHECK(segments->sizes[i].pattern.text() == patterns[i]);
    CHECK(segments->sizes[i].predicted == Approx(increases[i]));
    // FSFS was not measured: it has two segments.
    CHECK(segments->sizes[i].measured.has_value() == (i != 2));
  }
  // 0.014 is 0.0393 below the chord from 0 to 0.08, 0.004 is 0.0227 below it.
  CHECK(segments->knee == 2u);
  const Json numbers = report_json(report);
  CHECK(numbers["knee"]["full"] == 2);
  CHECK(numbers["knee"]["increase"].get<double>() == Approx(0.014));
  CHECK(numbers["sizes"][2]["measured"].is_null());
  CHECK_THAT(report_html(report),
             Contains("The knee of the predicted curve is at 2 F layers, 2 indexers removed and "
                      "+0.0140."));
}

TEST_CASE("sizes and prices that need an unmeasured segment stay unknown") {
  const Report report = four_layers(3);
  const auto segments = segments_report(report.result);
  REQUIRE(segments->sizes.size() == 3);  // {0, 4} is all of the last one
  CHECK(segments->sizes.back().full == 2);
  CHECK_FALSE(segments->knee);  // of three points
  CHECK(report_json(report)["knee"].is_null());
  const std::string page = report_html(report);
  CHECK(count(page, "The knee of the predicted curve") == 0);
  CHECK_THAT(page, Contains("<td>0</td><td>+0.0000</td><td>+0.0100</td><td>+0.0300</td>"
                            "<td>not measured</td>"));
  Report limited = report;
  limited.result.constraints.max_run = 2;
  limited.result.targets[1].calibration.pattern = Pattern::parse("FSSS");
  const auto unknown = segments_report(limited.result);
  REQUIRE_FALSE(unknown->prices.empty());
  CHECK(unknown->prices[1].kind == ConstraintPrice::Kind::max_run);
  CHECK(unknown->prices[1].possible);
  CHECK_FALSE(unknown->prices[1].price);
  CHECK_THAT(report_html(limited), Contains("<td>unknown</td>"));
}

TEST_CASE("prices of pins, runs and stages are those of the best of all patterns") {
  const Report report = eight_layers();
  const Constraints& run = report.result.constraints;
  const auto segments = segments_report(report.result);
  REQUIRE(segments);
  Constraints pins = run;
  pins.max_run = 0;
  Constraints runs = Constraints::none(8);
  runs.max_run = run.max_run;
  const auto best = [&](std::size_t full, const Rule& rule) {
    return best_of_all(segments->table, full, rule);
  };
  const Rule of_run = [&](const Pattern& p) { return keeps(p, run); };
  REQUIRE(segments->prices.size() == 10);  // pins, max_run and three numbers of stages; two targets
  for (std::size_t i = 0; i < 10; ++i) {
    const ConstraintPrice& price = segments->prices[i];
    INFO(constraint_text(report.result, price) << ", " << price.full << " F layers");
    CHECK(price.full == (i % 2 == 0 ? 6 : 4));
    double expected = -best(price.full, of_run);
    if (price.kind == ConstraintPrice::Kind::pins) {
      expected = -expected - best(price.full, [&](const Pattern& p) { return keeps(p, runs); });
    } else if (price.kind == ConstraintPrice::Kind::max_run) {
      expected = -expected - best(price.full, [&](const Pattern& p) { return keeps(p, pins); });
    } else {
      expected += best(price.full, [&](const Pattern& p) {
        bool begins_full = true;
        for (std::size_t first = 0; first < 8; first += 8 / price.number) {
          begins_full = begins_full && p.is_full(first);
        }
        return begins_full && keeps(p, run);
      });
    }
    CHECK(price.possible == std::isfinite(expected));
    CHECK(price.price.has_value() == price.possible);
    if (price.price) CHECK(*price.price == Approx(expected).margin(1e-12));
  }
}

TEST_CASE("prices have their words, their keys and their cells") {
  const Report report = eight_layers();
  const std::string page = report_html(report);
  CHECK_THAT(page, Contains("<th>at 6 F</th><th>at 4 F</th>"));
  CHECK_THAT(page, Contains("pinned layers of this run: 3 F, 5 S"));
  CHECK_THAT(page, Contains("at most 2 consecutive S layers, as in this run"));
  // Eight stages would keep every layer F.
  CHECK_THAT(page, Contains("<td>8 pipeline stages that begin with F</td><td>impossible</td>"
                            "<td>impossible</td>"));
  const Json prices = report_json(report)["constraint_prices"];
  REQUIRE(prices.size() == 10);
  CHECK(prices[0]["constraint"] == "pins");
  CHECK(prices[2]["max_run"] == 2);
  CHECK(prices[4]["stages"] == 2);
  CHECK(prices[8]["possible"] == false);
  CHECK(prices[8]["price"].is_null());
  // A run without constraints has only stages to ask about.
  const auto free = segments_report(four_layers(4).result);
  REQUIRE(free->prices.size() == 4);  // two and four stages of four layers
  CHECK(free->prices[0].kind == ConstraintPrice::Kind::stages);
  CHECK(*free->prices[0].price == Approx(0));  // FFFS keeps layer 2
}

TEST_CASE("stages that would begin with a layer without an indexer are impossible") {
  Report report = four_layers(4);
  report.result.searches.clear();
  report.result.baseline = Pattern::parse("FFSF");
  add_segments(
      report, [](const PatternSegment&) { return 0.01; }, 4);
  const auto segments = segments_report(report.result);
  REQUIRE(segments);
  CHECK(segments->prices[0].number == 2);
  CHECK_FALSE(segments->prices[0].possible);
}

namespace {

// Six layers: a segment costs 0.01 for each of its S layers, times one more than its first layer.
Report six_layers() {
  Report report = synthetic_report("x", Pattern::parse("FSFSFS"));
  report.result.searches.clear();
  const auto cost = [](const PatternSegment& segment) {
    return 0.01 * static_cast<double>((segment.end - segment.first - 1) * (segment.first + 1));
  };
  add_segments(report, cost, 6);
  PathStep step{.pattern = Pattern::parse("FSFSFF"), .loss = 2.05, .considered = {}};
  step.considered = {synthetic_considered(step.pattern, 0.05),              // predicted: 0.04
                     synthetic_considered(Pattern::parse("FSSFSS"), 0.09),  // 0.10
                     synthetic_considered(Pattern::parse("FFSFFS"), 0.09),  // 0.07
                     synthetic_considered(Pattern::parse("FFSSFF"), 0.5)};  // one segment
  report.result.searches[0].steps.push_back(step);
  return report;
}

}  // namespace

TEST_CASE("predictions are compared with what was measured, except of single segments") {
  const Report report = six_layers();
  const auto segments = segments_report(report.result);
  REQUIRE(segments->predictions.size() == 3);
  const PredictedPattern& first = segments->predictions[0];
  CHECK(first.pattern.text() == "FFSFFS");
  CHECK(first.predicted == Approx(0.07));
  CHECK(first.measured == Approx(0.09));
  const PredictionQuality quality = prediction_quality(segments->predictions);
  CHECK(quality.worst == &first);
  CHECK(*quality.rank_correlation == Approx(1.5 / std::sqrt(3)));  // a tie of the second and third
  const std::string page = report_html(report);
  CHECK_THAT(page, Contains("Do the losses of segments add up?"));
  CHECK_THAT(page, Contains("segments: 3. Largest difference of measured and predicted: +0.0200, "
                            "at 4 F layers. Rank correlation +0.866."));
  const std::string plot = prediction_scatter(*segments).inline_text();
  CHECK(count(plot, "<circle") == 3);
  CHECK_THAT(plot, Contains("4 F: predicted +0.0700, measured +0.0900"));
  CHECK(report_json(report)["predictions"]["patterns"] == 3);
}

TEST_CASE("patterns and segments that left a race are no evidence of additivity") {
  Report report = six_layers();
  SearchPath& search = report.result.searches[0];
  search.steps[0].considered[1].sequences = {0, 1};  // FSSFSS
  for (Considered& considered : search.measured) {
    if (considered.pattern.text() == "FFSFFF") considered.sequences = {0};  // a part of FFSFFS
  }
  const auto segments = segments_report(report.result);
  CHECK(segments->estimated == std::vector<PatternSegment>{{1, 3}});
  REQUIRE(segments->predictions.size() == 1);
  CHECK(segments->predictions[0].pattern.text() == "FSFSFF");
  const std::string page = report_html(report);
  CHECK_THAT(page, Contains("One segment of them left a race") && Contains("<td>≈ +0.0200</td>"));
  CHECK_THAT(page, Contains("Too few patterns for a rank correlation."));
}

TEST_CASE("the triangle has an outlined cell for each segment of every target") {
  Report report = eight_layers();
  const auto whole = segments_report(report.result);
  const std::string drawn = segment_triangle(report.result, *whole).inline_text();
  CHECK(count(drawn, "class=\"segment\"") == 6 + 4 + 1);  // the targets, and the legend
  CHECK(count(drawn, "class=\"target\" data-target=\"0\"") == 1);
  CHECK(count(drawn, "class=\"target on\" data-target=\"1\"") == 1);
  CHECK(count(drawn, "class=\"unmeasured\"") == 1);  // the legend
  CHECK_THAT(drawn, Contains("layer 3 feeds 4 to 5: ") && Contains("layer 2 feeds no other"));
  report.result.searches.clear();
  add_segments(
      report, [](const PatternSegment&) { return 0.01; }, 3);
  const auto part = segments_report(report.result);
  const std::string partial = segment_triangle(report.result, *part).inline_text();
  CHECK(count(partial, "class=\"unmeasured\"") == 5 + 1);  // rows 0 to 4 have longer segments
  // 2 of 3 layers each: those of one layer are not measured, but known.
  CHECK(count(partial, "h1v1h-1z") - 60 == 8 + 7 + 6);
}

TEST_CASE("the predicted curve is a line that ends where a size is not known") {
  Report report = four_layers(4);
  auto segments = *segments_report(report.result);
  const auto lines = [&] {
    return count(loss_curve(report.result, &segments).inline_text(),
                 "polyline class=\"predicted\"");
  };
  CHECK(lines() == 1);
  segments.sizes.erase(segments.sizes.begin() + 1);
  segments.knee.reset();
  CHECK(lines() == 2);
  segments.sizes.clear();
  CHECK(lines() == 0);
  CHECK(count(loss_curve(report.result, nullptr).inline_text(), "predicted") == 0);
}

TEST_CASE("pages of a search without segments say nothing about them") {
  const Report report = synthetic_report("x", Pattern::parse("FSFFSSFS"));
  CHECK_FALSE(segments_report(report.result));
  const std::string page = report_html(report);
  CHECK(count(page, "Which layers may an F layer feed") == 0);
  CHECK(count(page, "Do the losses of segments add up") == 0);
  CHECK(report_charts(report).size() == 8);
  const Json numbers = report_json(report);
  CHECK(numbers["sizes"].empty());
  CHECK(numbers["constraint_prices"].empty());
  CHECK(numbers["knee"].is_null());
  CHECK(numbers["predictions"].is_null());
}

TEST_CASE("charts of segments are drawings of their own") {
  Report report = synthetic_report("x", Pattern::uniform(61, 4));
  add_typical_segments(report, 7);
  const auto charts = report_charts(report);
  REQUIRE(charts.size() == 10);
  for (const auto& [name, chart] : charts) {
    INFO(name);
    const std::string text = chart.document();
    CHECK(text.find("nan") == std::string::npos);
    CHECK(text.find("inf") == std::string::npos);
  }
  CHECK(charts[8].first == "segments");
  CHECK(charts[9].first == "additivity");
}
