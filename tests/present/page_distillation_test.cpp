// SPDX-License-Identifier: Apache-2.0
// Pages of distillations; what a browser makes of them is in browser.py.
#include "present/page_distillation.h"

#include "core/error.h"
#include "io/files.h"
#include "present/charts_distillation.h"
#include "present/divergence_axis.h"
#include "present/synthetic_distillation.h"
#include "support/catch.h"
#include "support/damage.h"
#include "support/files.h"

#include <algorithm>
#include <filesystem>

using namespace indexcache;
using namespace indexcache::test;

namespace {

const std::string kHostileName = "</title><script>alert(1)</script>\"'&ü漢";

Distillation small(std::size_t sequences = 24) {
  return synthetic_distillation("GLM-5", Pattern::parse("FFSFSSSFSSFSSSSF"), sequences);
}

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

// The page of a distillation, after checks that hold for every one.
std::string checked_page(const Distillation& d) {
  std::string page = distillation_page(d);
  CHECK(page == distillation_page(d));
  CHECK(page.starts_with("<!DOCTYPE html>"));
  CHECK(page.ends_with("</html>\n"));
  CHECK(occurrences(page, "<script>") == 1);  // its own
  CHECK(occurrences(page, "https://") == 0);
  CHECK(occurrences(page, "<svg ") == distillation_charts(d).size());
  CHECK(occurrences(page, "role=\"img\" aria-label=") == occurrences(page, "<svg "));
  for (const char* tag : {"section", "div", "figure", "table", "details", "svg", "dl"}) {
    INFO(tag);
    const std::string name = tag;
    CHECK(occurrences(page, "<" + name + ">") + occurrences(page, "<" + name + " ") ==
          occurrences(page, "</" + name + ">"));
  }
  for (const auto& [name, chart] : distillation_charts(d)) {
    INFO(name);
    const std::string text = chart.document();
    CHECK(text.starts_with("<?xml"));
    CHECK(text.find("nan") == std::string::npos);
    CHECK(text.find("inf") == std::string::npos);
  }
  CHECK_FALSE(distillation_markdown(d).empty());
  return page;
}

}  // namespace

TEST_CASE("pages of distillations for the browser: a large model, a small one without a gain") {
  const std::filesystem::path folder = INDEXCACHE_PAGES;
  std::filesystem::create_directories(folder);
  const Distillation large =
      synthetic_distillation(kHostileName, Pattern::parse("FFF" + std::string(75, 'S')));
  Distillation wide = synthetic_distillation("GLM-5", Pattern::uniform(78, 4));
  write_file(folder / "distilled.html", checked_page(wide));
  CHECK(std::filesystem::file_size(folder / "distilled.html") < 1'000'000);
  CHECK_THAT(checked_page(large), Contains("&lt;/title&gt;&lt;script&gt;alert(1)"));
  Distillation lost = small(1);
  lost.gain = false;
  lost.complete = false;
  lost.judged.erase(lost.judged.begin() + 1);
  lost.stages.pop_back();
  lost.chosen = "dense";
  lost.judged[1].measured = synthetic_measure(lost.pattern, 0.33, 1);
  set_change(lost);
  write_file(folder / "undistilled.html", checked_page(lost));
}

TEST_CASE("the page of a gain says what to serve, and every number of the charts") {
  const Distillation d = small();
  const std::string page = checked_page(d);
  CHECK_THAT(page, Contains("class=\"verdict good\"") && Contains("On held-out data"));
  CHECK_THAT(page, Contains("indexcache-search eval model FFSFSSSFSSFSSSSF -c DATA"));
  CHECK_THAT(page, Contains("indexcache-search export FFSFSSSFSSFSSSSF -m model --all"));
  CHECK_THAT(page, Contains("index_topk_pattern"));  // of the engines
  CHECK_THAT(page, Contains("distill MODEL -p FFSFSSSFSSFSSSSF -c DATA --steps 150 "
                            "--sparse-steps 60 --rate 0.001 --sparse-rate 0.001"));
  CHECK_THAT(page, Contains("--warmup 20 -o DIR"));
  CHECK_THAT(page, Contains("<td>pattern, after sparse (chosen)</td>") &&
                       Contains("<td>all-Full, after sparse</td>"));
  CHECK_THAT(page, Contains("What does the sparse stage learn? (chosen)"));
  CHECK_THAT(page, Contains("<td>3 to 6</td>") || Contains("<td>4 to 6</td>"));
  CHECK_THAT(page, Contains("24 of 24") && Contains("training steps (150 dense and 60 sparse)"));
  CHECK_THAT(page, Contains("a &quot;warning&quot; with &lt;markup&gt;"));
  CHECK_THAT(page, Contains("calibration.jsonl: 28 sequences") && Contains(std::string(64, 'c')));
  const std::string markdown = distillation_markdown(d);
  CHECK_THAT(markdown, Contains("| pattern, after sparse (chosen) | +0.0483") &&
                           Contains("| uniform, before training | +0.4"));
}

TEST_CASE("distillations without a gain, an interval, a stage or an end are shown") {
  Distillation d = small();
  d.gain = false;
  std::string page = checked_page(d);
  CHECK_THAT(page, Contains("class=\"verdict bad\"") && Contains("No gain"));
  CHECK_THAT(page, Contains("No checkpoint was written") && !Contains("-m model"));
  CHECK_THAT(page, Contains("Its indexers were not written"));
  d.complete = false;
  d.judge_is_held_out = false;
  page = checked_page(d);
  CHECK_THAT(page, Contains("The time budget ended the training"));
  CHECK_THAT(page, Contains("They also decided when training stopped"));
  CHECK_THAT(distillation_markdown(d), Contains("the time budget ended the training"));
  page = checked_page(small(1));
  CHECK_THAT(page, Contains("a single sequence gives no interval"));
  CHECK_THAT(judged_bars(small(1)).inline_text(), !Contains("class=\"held\""));
  d.stages.resize(1);
  d.stages[0].training.resize(1);
  d.stages[0].validation.resize(1);
  d.chosen = "dense";
  d.teacher = "own";
  for (TrainedLayer& layer : d.layers) layer.mass_after.reset();
  page = checked_page(d);
  CHECK_THAT(page, Contains("No sequence was long enough") && Contains(" --own -o DIR"));
  CHECK(distillation_charts(d).size() == 4);
  d.stages.clear();
  d.layers.clear();
  d.chosen = "checkpoint";
  set_change(d);
  CHECK(distillation_charts(d).size() == 3);
  checked_page(d);
}

TEST_CASE("a training curve has a line for each layer, and where each one is lowest") {
  const Distillation d = small();
  const std::string drawn = training_curve(d, d.stages[0]).inline_text();
  CHECK(occurrences(drawn, "polyline class=\"layer-line\"") == d.layers.size());
  CHECK(occurrences(drawn, "class=\"layer-dot\"") == d.layers.size());
  CHECK(occurrences(drawn, "keeps step 150") == d.layers.size());
  CHECK(occurrences(drawn, "polyline class=\"greedy\"") == 1);
  CHECK(occurrences(drawn, "logarithmic") == 0);
  TrainingStage one = d.stages[0];
  one.validation.resize(1);  // too few for lines: those of the training
  const std::string training = training_curve(d, one).inline_text();
  CHECK_THAT(training, Contains("each layer, training") && !Contains("layer-dot"));
  TrainingStage deep = d.stages[0];
  for (TrainingPoint& point : deep.validation) point.divergences[0] *= 1e-4;
  CHECK_THAT(training_curve(d, deep).inline_text(), Contains("(logarithmic)"));
}

TEST_CASE("long trainings are averaged into lines of bounded length") {
  Distillation d = small();
  d.stages[0] = synthetic_stage("dense", 20000, d.layers.size(), 2.1);
  CHECK(training_curve(d, d.stages[0]).inline_text().size() < 200'000);
  checked_page(d);
}

TEST_CASE("an axis of divergences is logarithmic over orders of magnitude only") {
  const Plot plot{0, 0, 100, 100};
  const DivergenceAxis linear({0.2, 3}, plot);
  CHECK_FALSE(linear.is_logarithmic());
  CHECK(linear.at(0) == Approx(100));
  CHECK(linear.ticks().back() >= 3);
  const DivergenceAxis wide({0.004, 1.3}, plot);
  CHECK(wide.is_logarithmic());
  CHECK(wide.ticks().front() == Approx(0.002));
  CHECK(wide.ticks().back() == Approx(2));
  CHECK(wide.at(0.002) == Approx(100));
  CHECK(wide.at(2) == Approx(0).margin(1e-9));
  CHECK_FALSE(DivergenceAxis({0, 100}, plot).is_logarithmic());
  CHECK(DivergenceAxis({1e-200, 1e200}, plot).ticks().size() < 10);
  CHECK(DivergenceAxis({}, plot).ticks().size() > 1);
}

TEST_CASE("a distillation is read as it was written, from its folder or its file") {
  const TempFolder folder;
  const Distillation d = small();
  write_text(folder / "distill.json", to_json(d).dump());
  CHECK(read_distillation(folder.path()) == d);
  CHECK(read_distillation(folder / "distill.json") == d);
  CHECK(distillation_page(read_distillation(folder.path())) == distillation_page(d));
  write_text(folder / "distill.json", "{}");
  CHECK_THROWS_AS(read_distillation(folder.path()), InputError);
}

TEST_CASE("whatever a damaged distill.json is read as can be shown") {
  Distillation d = small(2);
  d.stages[0] = synthetic_stage("dense", 3, d.layers.size(), 2.1);
  d.stages[1] = synthetic_stage("sparse", 2, d.layers.size(), 2.0);
  std::size_t shown = 0;
  for_every_damage(to_json(d), 64, [&](const Damage& damage) {
    INFO(damage.name);
    try {
      checked_page(distillation_from_json(damage.document, "x"));
      ++shown;
    } catch (const InputError&) {
      // Refused: enough.
    }
  });
  CHECK(shown > 0);
}
