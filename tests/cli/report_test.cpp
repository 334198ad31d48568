// SPDX-License-Identifier: Apache-2.0
// `report` and the page that `run` ends with.
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/tokens.h"

#include <sstream>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// A finished run on a tiny model.
void make_run(const TempFolder& folder, const std::string& name, const std::string& keep) {
  tiny_tokens(folder);
  const ProcessResult result =
      run_tool({"run", golden("deepseek_v32_tiny"), "-c", folder / "tokens.jsonl", "--keep", keep,
                "-o", folder / name, "-q"});
  INFO(result.err);
  REQUIRE(result.code == 0);
}

}  // namespace

TEST_CASE("run ends with a page, which report makes again from the files, byte for byte") {
  const TempFolder folder;
  make_run(folder, "run", "1/2,1/3");
  const std::string page = read_file(folder / "run/report.html");
  CHECK_THAT(page, Contains("deepseek_v32_tiny") && Contains("name=\"target\""));
  const ProcessResult again = run_tool({"report", folder / "run", "-o", folder / "again"});
  CHECK(again.code == 0);
  CHECK(again.out == (folder / "again/report.html").string() + "\n");
  CHECK(read_file(folder / "again/report.html") == page);
}

TEST_CASE("report writes every format that is asked for") {
  const TempFolder folder;
  make_run(folder, "run", "1/2");
  const ProcessResult result = run_tool({"report", folder / "run", "--format",
                                         "html,svg,png,md,json", "-o", folder / "out", "--json"});
  REQUIRE(result.code == 0);
  CHECK(parse_json(result.out, "stdout")["files"].size() == 14);
  for (const char* name :
       {"report.html", "report.md", "report.json", "heatmap.png", "loss.svg", "overlap.svg",
        "pattern.svg", "sensitivity.svg", "steps.svg", "overlap-cost.svg", "positions.svg",
        "sequences.svg", "segments.svg", "additivity.svg"}) {
    INFO(name);
    CHECK(std::filesystem::file_size(folder / "out" / name) > 100);
  }
  const Json numbers = parse_json(read_file(folder / "out/report.json"), "report.json");
  CHECK(numbers["targets"][0]["pattern"].get<std::string>().size() == 6);
}

TEST_CASE("report --compare puts runs side by side") {
  const TempFolder folder;
  make_run(folder, "a", "1/2");
  make_run(folder, "b", "1/3");
  const ProcessResult result =
      run_tool({"report", "--compare", folder / "a", folder / "b", "-o", folder / "both"});
  INFO(result.err);
  CHECK(result.code == 0);
  CHECK_THAT(read_file(folder / "both/compare.html"),
             Contains("2 runs compared") && Contains("1 and 2") && Contains("+1.00 over 3 layers"));
}

TEST_CASE("report refuses what is no finished run, and options that do not go together") {
  const TempFolder folder;
  make_run(folder, "run", "1/2");
  const std::string run = folder / "run";
  const auto refuses = [](const std::vector<std::string>& arguments, int code,
                          const std::string& tells) {
    std::vector<std::string> all = {"report"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const ProcessResult result = run_tool(all);
    INFO(result.err);
    CHECK(result.code == code);
    CHECK_THAT(result.err, Contains(tells));
  };
  refuses({}, 2, "RUN is required");
  refuses({run, run}, 2, "--compare shows several");
  refuses({"--compare", run}, 2, "at least two runs");
  refuses({"--compare", run, run}, 2, "--output DIR");
  refuses({"--compare", run, run, "--format", "md"}, 2, "--format html");
  refuses({"--compare", run, "--format", "md"}, 2,
          "--compare requires at least two runs, --output DIR and --format html");
  refuses({run, "--format", "pdf"}, 2, "--format");
  refuses({folder / "none"}, 3, "the run does not exist");
  refuses({folder.path()}, 3, "no run.json");
  write_text(folder / "run/profile.json", "{\"prefill\": [{}]}");
  refuses({run}, 3, "profile.json");
  std::filesystem::remove(folder / "run/profile.json");
  write_text(folder / "run/run.json", "[]");
  refuses({run}, 3, "expected an object");
}

TEST_CASE("the summary of a run fits 80 columns and plots the curve") {
  const TempFolder folder;
  make_run(folder, "run", "1/3");
  const auto summary = [&](const std::string& locale) {
    return run_tool({"run", golden("deepseek_v32_tiny"), "-c", folder / "tokens.jsonl", "--keep",
                     "1/3", "-o", folder / "run", "-q"},
                    {"LC_ALL=" + locale})
        .out;
  };
  CHECK_THAT(summary("C.UTF-8"), Contains("█") && Contains("indexers are removed"));
  const std::string plain = summary("C");
  CHECK_THAT(plain, Contains("#") && !Contains("█"));
  std::istringstream lines(plain);
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    // Lines with paths are as long as the paths.
    if (line.find(folder.path().string()) == std::string::npos) CHECK(line.size() <= 80);
  }
}
