// SPDX-License-Identifier: Apache-2.0
// Pages of runs with 16, 47 and 78 layers; what a browser makes of them is in browser.py.
#include "present/page.h"

#include "core/error.h"
#include "io/files.h"
#include "io/yaml.h"
#include "present/charts.h"
#include "present/scale.h"
#include "present/summary_text.h"
#include "present/synthetic_run.h"
#include "result/overlap_file.h"
#include "serving/published.h"
#include "support/catch.h"
#include "support/files.h"

#include <filesystem>

using namespace indexcache;
using namespace indexcache::test;

namespace {

const std::string kHostile = "</title><script>alert(1)</script>\"'&ü漢 " + std::string(170, 'x');

RunView view_of(const SyntheticRun& run, const Json& bench = {}) {
  return make_run_view(to_json(run.record, run.overlap), run.overlap, bench, "runs/example");
}

RunView example(const std::string& name = "GLM-5") {
  return view_of(synthetic_run(name, Pattern::parse("FFSFSSSFSSFSSSSF")));
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

std::string refusal(const Json& run, const Overlap& overlap) {
  try {
    make_run_view(run, overlap, {}, "runs/x");
    return "accepted";
  } catch (const InputError& error) {
    return error.describe();
  }
}

}  // namespace

TEST_CASE("pages for the browser: published patterns, hostile names, a comparison") {
  const std::filesystem::path folder = INDEXCACHE_PAGES;
  std::filesystem::create_directories(folder);
  const auto published = published_patterns();
  const RunView paper = view_of(synthetic_run("DSA 30B", Pattern::parse(published[0].text)));
  const RunView glm =
      view_of(synthetic_run("GLM-5", Pattern::parse(published[2].text)),
              Json{{"prefill",
                    {{{"context", 32768},
                      {"pattern", std::string(78, 'F')},
                      {"milliseconds", 812.5},
                      {"speed_up", 1.0},
                      {"stage_milliseconds", {{"indexer", 420.0}, {"attention", 200.5}}}},
                     {{"context", 32768},
                      {"pattern", published[2].text},
                      {"milliseconds", 520.25},
                      {"speed_up", 1.56},
                      {"stage_milliseconds", {{"indexer", 118.0}, {"attention", 200.5}}}}}}});
  write_file(folder / "paper.html", report_html(paper));
  write_file(folder / "glm.html", report_html(glm));
  write_file(folder / "hostile.html", report_html(example(kHostile)));
  write_file(folder / "compare.html", compare_html({paper, example(), glm, example(kHostile)}));
  CHECK(std::filesystem::file_size(folder / "glm.html") < 1'000'000);
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
  SyntheticRun run = synthetic_run("x", Pattern::parse("FSFS"));
  run.record.holdout.reset();
  for (Target& target : run.record.targets) target.holdout.reset(), target.uniform_holdout.reset();
  CHECK_THAT(report_html(view_of(run)), Contains("Not verified: the run had no held-out"));
  SyntheticRun still = synthetic_run("x", Pattern::parse("FFFS"));
  still.record.steps.clear();
  CHECK_THAT(report_html(view_of(still)), Contains("No step had a choice."));
  SyntheticRun single = synthetic_run("x", Pattern::parse("FSFS"));
  for (Target& target : single.record.targets) {
    target.holdout = synthetic_measure(target.calibration.pattern, 0.1, 1);
  }
  CHECK_THAT(report_html(view_of(single)), Contains("one held-out sequence gives no interval"));
}

TEST_CASE("a run that is not whole is refused, not shown in part") {
  const SyntheticRun run = synthetic_run("x", Pattern::parse("FSFS"));
  const Json whole = to_json(run.record, run.overlap);
  CHECK(refusal(whole, run.overlap) == "accepted");
  Json broken = whole;
  broken.erase("targets");
  CHECK_THAT(refusal(broken, run.overlap), Contains("targets"));
  broken = whole;
  broken["steps"][0]["pattern"] = "FFF";
  CHECK_THAT(refusal(broken, run.overlap), Contains("another length"));
  broken = whole;
  broken["steps"][0]["candidates"][0]["layer"] = 4;
  CHECK_THAT(refusal(broken, run.overlap), Contains("no such layer"));
  broken = whole;
  broken["targets"] = Json::array();
  CHECK_THAT(refusal(broken, run.overlap), Contains("no target"));
  broken = whole;
  broken["schema"] = "indexcache-run/2";
  CHECK_THAT(refusal(broken, run.overlap), Contains("indexcache-run/2"));
  CHECK_THAT(refusal(whole, synthetic_overlap(5)), Contains("another model"));
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
  RunView view = example();
  view.steps.erase(view.steps.begin() + 4, view.steps.end());
  const std::vector<double> rises = {0.001, 0.002, 0.003, 0.1};
  for (std::size_t s = 0; s < 4; ++s) view.steps[s].rise = rises[s];
  CHECK(view.knee() == 3u);
  view.steps.erase(view.steps.begin() + 2, view.steps.end());
  CHECK_FALSE(view.knee().has_value());
  CHECK(*rank_correlation({1, 2, 3, 4}, {10, 20, 30, 40}) == Approx(1));
  CHECK(*rank_correlation({1, 2, 3, 4}, {4, 3, 2, 1}) == Approx(-1));
  CHECK(*rank_correlation({1, 2, 2, 3}, {1, 2, 2, 3}) == Approx(1));
  CHECK_FALSE(rank_correlation({1, 1, 1}, {1, 2, 3}).has_value());
  const Rise rise{Pattern::parse("F"), 0, {}, {}, {0.1, 0.5, 0.3}};
  const auto worst = worst_sequences(rise, 2);
  CHECK(worst[0].first == 1);
  CHECK(worst[1].first == 2);
}

TEST_CASE("the predicted cost is that of the layers that run") {
  const RunView view = example();
  const auto costs = indexer_costs(view, view.targets.back());
  REQUIRE(costs.size() == 3);
  // 16 layers x 32 heads x 128 x 32768^2.
  CHECK(costs[0].teraflop_before == Approx(16 * 32 * 128 * 32768.0 * 32768.0 / 1e12));
  CHECK(costs[0].teraflop_after / costs[0].teraflop_before == Approx(6.0 / 16));
  CHECK(costs[0].kept_megabytes_before == Approx(16 * 132 * 32768 / 1e6));
  CHECK(saved_percent(view, view.targets.back()) == Approx(62.5));
}

TEST_CASE("the verdict is green within the limit of the shipped gate, and better than uniform") {
  const auto path = std::filesystem::path(INDEXCACHE_SOURCE_DIR) / "configs/ci-gate.yaml";
  const double limit =
      parse_yaml(read_file(path), path.string())["guards"]["max_holdout_delta"].get<double>();
  const RunView view = example();
  TargetView target = view.targets.back();
  target.holdout->mean = limit - 0.01;
  target.holdout->low = limit - 0.02;
  target.holdout->high = limit;
  target.uniform->mean = limit;
  CHECK(verdict_of(view, target).good);
  target.holdout->high = limit + 0.001;
  CHECK_FALSE(verdict_of(view, target).good);
  target.holdout->high = limit;
  target.uniform->mean = limit - 0.02;
  CHECK_FALSE(verdict_of(view, target).good);
  CHECK_THAT(verdict_of(view, target).text, Contains("no worse than this pattern"));
  target.holdout->low = -0.01;
  CHECK_THAT(verdict_of(view, target).text, Contains("no rise can be told from noise"));
}
