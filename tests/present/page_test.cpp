// SPDX-License-Identifier: Apache-2.0
// Pages of runs with 16, 47 and 78 layers; what a browser makes of them is in browser.py.
#include "present/page.h"

#include "core/error.h"
#include "io/files.h"
#include "io/yaml.h"
#include "present/charts.h"
#include "present/escape.h"
#include "present/scale.h"
#include "present/search_curve.h"
#include "present/synthetic_run.h"
#include "present/target_text.h"
#include "present/terminal_summary.h"
#include "profile/profile_json.h"
#include "result/overlap_file.h"
#include "result/result_json.h"
#include "serving/published.h"
#include "support/catch.h"
#include "support/damage.h"
#include "support/example_profile.h"
#include "support/example_result.h"
#include "support/files.h"

#include <filesystem>

using namespace indexcache;
using namespace indexcache::test;

namespace {

const std::string kHostile = "</title><script>alert(1)</script>\"'&ü漢 " + std::string(170, 'x');

Report example(const std::string& name = "GLM-5") {
  return synthetic_report(name, Pattern::parse("FFSFSSSFSSFSSSSF"));
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

// A run folder with `report` in it.
void write_run(const TempFolder& folder, const Json& run, const Overlap& overlap) {
  write_text(folder / "run.json", run.dump());
  write_overlap(folder / "overlap.h5", overlap, example_model(), example_result().calibration);
}

std::string refusal(const TempFolder& folder) {
  try {
    read_report(folder.path());
    return "accepted";
  } catch (const InputError& error) {
    return error.describe();
  }
}

// Everything that shows a result.
void present(const Report& report) {
  CHECK_FALSE(report_html(report).empty());
  CHECK_FALSE(report_markdown(report).empty());
  CHECK_FALSE(report_json(report).dump().empty());
  CHECK_FALSE(report_charts(report).empty());
  CHECK_FALSE(compare_html({report, example(), report}).empty());
  CHECK_FALSE(summary_text(report.result, "run").empty());
}

}  // namespace

TEST_CASE("pages for the browser: published patterns, hostile names, a comparison") {
  const std::filesystem::path folder = INDEXCACHE_PAGES;
  std::filesystem::create_directories(folder);
  const auto published = published_patterns();
  const Report paper = synthetic_report("DSA 30B", Pattern::parse(published[0].text));
  Report glm = synthetic_report("GLM-5", Pattern::parse(published[2].text));
  glm.profile = example_profile(78);
  write_file(folder / "paper.html", report_html(paper));
  write_file(folder / "glm.html", report_html(glm));
  add_typical_segments(glm, 9);
  write_file(folder / "segments.html", report_html(glm));
  write_file(folder / "hostile.html", report_html(example(kHostile)));
  write_file(folder / "compare.html", compare_html({paper, example(), glm, example(kHostile)}));
  CHECK(std::filesystem::file_size(folder / "glm.html") < 1'000'000);
  CHECK(std::filesystem::file_size(folder / "segments.html") < 2'000'000);
}

TEST_CASE("the same run gives the same page, whole and without markup of its names") {
  const std::string page = report_html(example(kHostile));
  CHECK(page == report_html(example(kHostile)));
  CHECK(count(page, "<script>") == 1);  // its own
  CHECK(count(page, "</title><script>") == 0);
  CHECK_THAT(page, Contains("&lt;/title&gt;&lt;script&gt;alert(1)"));
  CHECK(count(page, "http://") == count(page, "xmlns=\"http://www.w3.org/2000/svg\""));
  CHECK(count(page, "https://") == 0);
  CHECK_THAT(page, Contains("a &quot;warning&quot; with &lt;markup&gt;"));
  const std::string markdown = report_markdown(example(kHostile));
  CHECK(count(markdown, "<script>") == 0);
  CHECK_THAT(markdown, Contains("6 of 16 layers keep their indexer"));
}

TEST_CASE("every chart is a drawing of its own too") {
  for (const auto& [name, chart] : report_charts(example())) {
    INFO(name);
    const std::string text = chart.document();
    CHECK(text.starts_with("<?xml"));
    CHECK(count(text, "<svg ") == 1);
    CHECK(text.find("nan") == std::string::npos);
    CHECK(text.find("inf") == std::string::npos);
  }
  CHECK(report_charts(example()).size() == 8);
}

TEST_CASE("runs without hold-out, without steps and with one sequence are shown") {
  Report run = synthetic_report("x", Pattern::parse("FSFS"));
  run.result.holdout.reset();
  for (Target& target : run.result.targets) target.holdout.reset(), target.uniform_holdout.reset();
  CHECK_THAT(report_html(run), Contains("Not verified: the run had no held-out"));
  Report still = synthetic_report("x", Pattern::parse("FFFS"));
  still.result.searches[0].steps.clear();
  CHECK_THAT(report_html(still), Contains("No step had a choice."));
  still.result.searches.clear();
  present(still);
  Report single = synthetic_report("x", Pattern::parse("FSFS"));
  for (Target& target : single.result.targets) {
    target.holdout = synthetic_measure(target.calibration.pattern, 0.1, 1);
  }
  CHECK_THAT(report_html(single), Contains("a single held-out sequence gives no interval"));
}

TEST_CASE("searches of several methods are shown, each with its path") {
  const Report report{example_result(), example_overlap(), {}, "run"};
  const std::string page = report_html(report);
  CHECK_THAT(page, Contains("found by swap") && Contains("Search (greedy, swap)"));
  CHECK_THAT(page, Contains("greedy step 2: layer 5 shared, +0.0050"));
  CHECK_THAT(page, Contains("swap step 1: layer 1 for 2 shared, +0.0150"));
  CHECK_THAT(summary_text(report.result, "run"), Contains("removed; swap)"));
  const Json numbers = report_json(report);
  CHECK(numbers["searches"].size() == 2);
  CHECK(numbers["searches"][1]["curve"].size() == 2);
  CHECK(numbers["searches"][1]["curve"][0]["removed"] == 3);
  CHECK(numbers["targets"][1]["method"] == "swap");
  present(report);
}

TEST_CASE("a run folder that is not whole is refused, not shown in part") {
  const TempFolder folder;
  const Json whole = to_json(example_result());
  CHECK_THAT(refusal(folder), Contains("no run.json"));
  write_run(folder, whole, example_overlap());
  CHECK(refusal(folder) == "accepted");
  Json broken = whole;
  broken.erase("targets");
  write_run(folder, broken, example_overlap());
  CHECK_THAT(refusal(folder), Contains("targets"));
  write_run(folder, whole, synthetic_overlap(5));
  CHECK_THAT(refusal(folder), Contains("different model"));
  write_run(folder, whole, example_overlap());
  write_text(folder / "profile.json", to_json(example_profile()).dump());
  CHECK(refusal(folder) == "accepted");
  write_text(folder / "profile.json", to_json(example_profile(5)).dump());
  CHECK_THAT(refusal(folder), Contains("profile.json") && Contains("it has 5 layers"));
  Profile other = example_profile();
  other.model.config_sha256 = std::string(64, 'b');
  write_text(folder / "profile.json", to_json(other).dump());
  CHECK_THAT(refusal(folder), Contains("it is of another config.json"));
  other.model.config_sha256.clear();  // random weights of the same shape
  write_text(folder / "profile.json", to_json(other).dump());
  CHECK(refusal(folder) == "accepted");
  write_text(folder / "profile.json", "{\"schema\": \"indexcache-profile/1\"}");
  CHECK_THAT(refusal(folder), Contains("has no key \"tool\""));
}

TEST_CASE("whatever a damaged run.json is read as can be shown") {
  std::size_t shown = 0;
  for_every_damage(to_json(example_result()), 64, [&](const Damage& damage) {
    INFO(damage.name);
    try {
      present({result_from_json(damage.document, "x"), example_overlap(), {}, "run"});
      ++shown;
    } catch (const InputError&) {
      // Refused: tests/result/strictness_test.cpp.
    }
  });
  CHECK(shown > 0);
}

TEST_CASE("ticks are round and hold the data") {
  CHECK(round_ticks(0, 1, 5) == std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1});
  CHECK(round_ticks(-0.3, 7.2, 4) == std::vector<double>{-2, 0, 2, 4, 6, 8});
  CHECK(tick_text(0.6000000000000001, {0, 0.2}) == "0.6");
  CHECK(tick_text(-1e-17, {-0.05, 0}) == "0.00");
  CHECK(tick_text(1500, {0, 500}) == "1500");
  CHECK(round_ticks(3, 3, 5).size() > 1);
  CHECK(axis_low(-0.01, 1) == 0);
  CHECK(axis_low(-0.1, 1) == -0.1);
}

TEST_CASE("knee, rank correlation and worst sequences") {
  const std::vector<CurvePoint> curve = {{0, 0}, {1, 0.001}, {2, 0.002}, {3, 0.003}, {4, 0.1}};
  CHECK(knee(curve) == 3u);
  CHECK_FALSE(knee({curve[0], curve[1], curve[2]}).has_value());
  CHECK_FALSE(knee({curve[0], curve[1], curve[1], curve[2]}).has_value());
  CHECK(*rank_correlation({1, 2, 3, 4}, {10, 20, 30, 40}) == Approx(1));
  CHECK(*rank_correlation({1, 2, 3, 4}, {4, 3, 2, 1}) == Approx(-1));
  CHECK(*rank_correlation({1, 2, 2, 3}, {1, 2, 2, 3}) == Approx(1));
  CHECK_FALSE(rank_correlation({1, 1, 1}, {1, 2, 3}).has_value());
  const Measured measured{Pattern::parse("F"), 0, {}, {0, {}, {0.1, 0.5, 0.3}}};
  const auto worst = worst_sequences(measured, 2);
  CHECK(worst[0] == SequenceDifference{1, 0.5});
  CHECK(worst[1] == SequenceDifference{2, 0.3});
}

TEST_CASE("a layer's cost is that of the first step with a choice") {
  const std::vector<LayerCost> costs = sensitivity(example_result());
  REQUIRE(costs.size() == 3);
  CHECK(costs[0].layer == 5);
  CHECK(costs[1].layer == 1);
  CHECK(costs[1].rise == Approx(0.007));
  Result result = example_result();
  CHECK(one_by_one(result) == &result.searches[0]);
  result.searches.erase(result.searches.begin());
  CHECK(one_by_one(result) == nullptr);
}

TEST_CASE("the predicted cost is that of the layers that run") {
  const Result result = example().result;
  const auto costs = indexer_costs(result, result.targets.back());
  REQUIRE(costs.size() == 3);
  // 16 layers x 32 heads x 128 x 32768^2.
  CHECK(costs[0].teraflop_before == Approx(16 * 32 * 128 * 32768.0 * 32768.0 / 1e12));
  CHECK(costs[0].teraflop_after / costs[0].teraflop_before == Approx(6.0 / 16));
  CHECK(costs[0].kept_megabytes_before == Approx(16 * 132 * 32768 / 1e6));
  CHECK(saved_percent(result, result.targets.back()) == Approx(62.5));
}

TEST_CASE("the verdict is green within the limit of the shipped gate, and better than uniform") {
  const auto path = std::filesystem::path(INDEXCACHE_SOURCE_DIR) / "configs/ci-gate.yaml";
  const double limit =
      parse_yaml(read_file(path), path.string())["guards"]["max_holdout_delta"].get<double>();
  Result result = example().result;
  result.targets.erase(result.targets.begin());
  Target& target = result.targets.front();
  target.uniform_holdout->pattern = Pattern::uniform(16, 3);
  CHECK_THAT(summary_text(result, "run"), !Contains("uniform, held out   this pattern"));
  PairedDifference& held = target.holdout->delta;
  held.mean = limit - 0.01;
  held.ci95 = {limit - 0.02, limit};
  target.uniform_holdout->delta.mean = limit;
  CHECK(verdict_of(target).good);
  held.ci95->second = limit + 0.001;
  CHECK_FALSE(verdict_of(target).good);
  held.ci95->second = limit;
  target.uniform_holdout->delta.mean = limit - 0.02;
  CHECK_FALSE(verdict_of(target).good);
  CHECK_THAT(verdict_of(target).text, Contains("no worse than this pattern"));
  held.ci95->first = -0.01;
  CHECK_THAT(verdict_of(target).text, Contains("no loss increase is distinguishable from noise"));
  target.uniform_holdout->pattern = target.calibration.pattern;
  CHECK(verdict_of(target).good);
  CHECK_THAT(verdict_of(target).text, Contains("This pattern is uniform interleaving."));
  CHECK_THAT(summary_text(result, "run"), Contains("uniform, held out   this pattern\n"));
}
