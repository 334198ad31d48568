// SPDX-License-Identifier: Apache-2.0
// `check`: every guard passing and failing, with its exit code; what is missing or incomparable.
#include "io/files.h"
#include "io/json.h"
#include "io/yaml.h"
#include "result/drift.h"
#include "result/result_json.h"
#include "result/stored_pattern.h"
#include "support/catch.h"
#include "support/example_result.h"
#include "support/files.h"
#include "support/process.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Arguments = std::vector<std::string>;

// A run.json of a model of six layers, with one target.
Json stored_run() {
  Result result = example_result();
  result.targets.erase(result.targets.begin());
  return to_json(result);
}

// The target of a pattern that one layer less is shared in.
void share_fewer(Json& run) {
  Result result = result_from_json(run, "run.json");
  Target& target = result.targets[0];
  target.calibration.pattern = target.holdout->pattern = Pattern::parse("FSFFFS");
  target.donors.erase(target.donors.begin() + 1);
  target.donors[1].donor = 4;
  target.strategies.clear();
  target.ties.clear();
  target.halves.clear();
  target.compared.clear();
  run = to_json(result);
}

// Drops of 0.1 in layer 4 and 0.01 in the others.
Drift stored_drift() {
  Drift drift = compare_overlap(Pattern::parse("FSFFSS"), example_overlap(), example_overlap());
  drift.stored_tokens_sha256 = std::string(64, 'a');
  drift.tokens = example_result().calibration;
  for (LayerDrift& layer : drift.layers) {
    layer.change = {0.5, layer.layer == 4 ? 0.4 : 0.49};
  }
  return drift;
}

struct Bench {
  Bench() {
    save("run.json", stored_run());
    save("base.json", stored_run());
    save("drift.json", to_json(stored_drift()));
  }

  void save(const std::string& name, const Json& json) const {
    write_text(folder / name, json.dump());
  }
  template <typename Change>
  void change(const std::string& name, Change edit) const {
    Json json = parse_json(read_file(folder / name), name);
    edit(json);
    save(name, json);
  }

  ProcessResult check(const std::string& guards, const Arguments& more = {},
                      const std::vector<std::string>& environment = {"GITHUB_ACTIONS="}) const {
    write_text(folder / "gate.yaml", "schema: indexcache-gate/1\nguards:\n  " + guards + "\n");
    Arguments all = {"check", folder / "run.json", "--gate", folder / "gate.yaml"};
    all.insert(all.end(), more.begin(), more.end());
    return run_tool(all, environment);
  }
  // With baseline and drift file.
  ProcessResult compare(const std::string& guards) const {
    return check(guards, {"--baseline", folder / "base.json", "--drift", folder / "drift.json"});
  }

  TempFolder folder;
};

}  // namespace

TEST_CASE("check: every guard passes and fails by its limit, exit 0 and 1") {
  const Bench bench;
  struct Row {
    std::string passing;
    std::string failing;
    std::string tells;  // of the failing one
  };
  const std::vector<Row> rows = {
      {"max_holdout_delta: 0.03", "max_holdout_delta: 0.029", "0.03 "},
      {"max_sequence_delta: 0.11", "max_sequence_delta: 0.1", "held-out sequence 5"},
      {"max_ppl_ratio: 1.0203", "max_ppl_ratio: 1.02", "1.0202"},
      {"max_kl: 0.0125", "max_kl: 0.012", "1280 held-out tokens"},
      {"min_same_top1: 0.975", "min_same_top1: 0.98", "0.975 "},
      {"max_kept_ratio: 0.5", "max_kept_ratio: 0.49", "3 of 6 layers"},
      {"min_mean_donor_overlap: 0.69", "min_mean_donor_overlap: 0.71", "0.7 "},
      {"min_donor_overlap: 0.5", "min_donor_overlap: 0.6", "layer 1 has the lowest; 1 below"},
      {"pp_size: 2", "pp_size: 6", "S at 1, 4, 5"},
      {"pp_partition: [2, 4]", "pp_partition: [4, 2]", "S at 4"},
      {"max_delta_over_baseline: 0.0", "max_delta_over_baseline: -0.001", "+0.02 against +0.02"},
      {"max_mean_overlap_drop: 0.041", "max_mean_overlap_drop: 0.03", "0.04"},
      {"max_overlap_drop: 0.1", "max_overlap_drop: 0.05", "layer 4"},
  };
  for (const Row& row : rows) {
    INFO(row.passing);
    CHECK(bench.compare(row.passing).code == 0);
    const ProcessResult failing = bench.compare(row.failing);
    INFO(failing.out << failing.err);
    CHECK(failing.code == 1);
    CHECK_THAT(failing.out, Contains("FAIL") && Contains(row.tells));
  }
}

TEST_CASE("check: guards on the pattern and on the baseline, exit 0 and 1") {
  const Bench bench;
  CHECK(bench.compare("first_layer_full: true").code == 0);
  CHECK(bench.compare("same_pattern: true").code == 0);
  CHECK(bench.compare("same_fingerprint: true").code == 0);
  CHECK(bench.compare("same_fingerprint: [device, model config sha256]").code == 0);

  bench.change("base.json", [](Json& run) { run["fingerprint"]["device"] = "cuda"; });
  const ProcessResult device = bench.compare("same_fingerprint: true");
  CHECK(device.code == 1);
  CHECK_THAT(device.out, Contains("device differ"));
  CHECK(bench.compare("same_fingerprint: [model config sha256]").code == 0);
  CHECK(bench.compare("same_fingerprint: [device]").code == 1);

  bench.change("base.json", share_fewer);
  const ProcessResult pattern = bench.compare("same_pattern: true");
  CHECK(pattern.code == 1);
  CHECK_THAT(pattern.out, Contains("layers 4 differ"));

  // A pattern that begins with S is none: no command reads it.
  bench.change("run.json", [](Json& run) {
    for (Json* place : {&run["targets"][0], &run["targets"][0]["calibration"]}) {
      place->at("pattern") = "SSFFSS";
    }
  });
  const ProcessResult first = bench.check("first_layer_full: true");
  CHECK(first.code == 3);
  CHECK_THAT(first.err, Contains("starts with S") && Contains("no earlier one"));
}

TEST_CASE("check: all guards must pass, and what is missing fails") {
  const Bench bench;
  CHECK(bench.check("max_kept_ratio: 0.5\n  max_holdout_delta: 0.001").code == 1);
  const auto fails = [&](const std::string& guards, const std::string& tells) {
    const ProcessResult result = bench.check(guards);
    INFO(guards << "\n" << result.out << result.err);
    CHECK(result.code == 1);
    CHECK_THAT(result.out, Contains("missing") && Contains(tells));
  };
  fails("same_pattern: true", "--baseline was not given");
  fails("same_fingerprint: true", "--baseline was not given");
  fails("max_delta_over_baseline: 1", "--baseline was not given");
  fails("max_overlap_drop: 1", "--drift was not given");
  fails("max_mean_overlap_drop: 1", "--drift was not given");
  fails("pp_partition: [3, 4]", "7 layers, the model 6");
  fails("pp_size: 7", "fewer layers");
  bench.change("run.json", [](Json& run) { run["targets"][0]["holdout"]["delta_ci95"] = nullptr; });
  fails("max_holdout_delta: 9", "gives no interval");
  bench.change("run.json", [](Json& run) { run["targets"][0].erase("holdout"); });
  fails("max_holdout_delta: 9", "no held-out sequences");
  fails("max_sequence_delta: 9", "no held-out sequences");
  fails("max_ppl_ratio: 9", "no held-out sequences");
  bench.change("run.json", [](Json& run) { run["fingerprint"] = Json::object(); });
  const ProcessResult bare = bench.compare("same_fingerprint: [device]");
  CHECK(bare.code == 1);
  CHECK_THAT(bare.out, Contains("missing in one of the files: device"));
  bench.change("run.json", [](Json& run) {
    run = Json{{"schema", kPatternSchema}, {"pattern", "FSFFSS"}};
  });
  fails("min_donor_overlap: 0", "every shared layer");
  fails("min_mean_donor_overlap: 0", "every shared layer");
}

TEST_CASE("check: a baseline or drift file that cannot be compared exits 3") {
  const Bench bench;
  const auto refuses = [&](const std::string& guards, const std::string& tells) {
    const ProcessResult result = bench.compare(guards);
    INFO(result.err);
    CHECK(result.code == 3);
    CHECK(result.out.empty());
    CHECK_THAT(result.err, Contains(tells));
  };
  bench.change("base.json", [](Json& run) { run["holdout"]["sha256"] = std::string(64, 'f'); });
  refuses("max_delta_over_baseline: 1", "different held-out sequences");
  CHECK(bench.compare("same_pattern: true").code == 0);
  bench.save("base.json", stored_run());
  bench.change("base.json", [](Json& run) { run["fingerprint"]["numerics version"] = "1"; });
  refuses("max_delta_over_baseline: 1", "numerics version");
  bench.save("base.json", stored_run());
  bench.change("base.json", [](Json& run) { run["model"]["architecture"] = "Other"; });
  refuses("same_pattern: true", "it is for \"Other\"");
  bench.change("base.json", [](Json& run) {
    run = Json{{"schema", kPatternSchema}, {"pattern", "FSFF"}};
  });
  refuses("same_pattern: true", "it has 4 layers, but the result has 6");
  bench.change("base.json", [](Json& run) { run["schema"] = "indexcache-run/9"; });
  refuses("same_pattern: true", "indexcache-run/9");
  bench.save("base.json", Json::object());
  refuses("same_pattern: true", "no key \"schema\"");
  bench.save("base.json", stored_run());
  Drift other = compare_overlap(Pattern::parse("FSSFSS"), example_overlap(), example_overlap());
  other.stored_tokens_sha256 = std::string(64, 'a');
  other.tokens = example_result().calibration;
  bench.save("drift.json", to_json(other));
  refuses("max_overlap_drop: 1", "a different pattern");
  bench.save("drift.json", Json::object());
  refuses("max_overlap_drop: 1", "not a drift file");
}

TEST_CASE("check: a gate that cannot be used exits 2, a result that is none exits 3") {
  const Bench bench;
  CHECK(bench.check("max_hold: 1").code == 2);
  CHECK(bench.check("").code == 2);
  CHECK(run_tool({"check", bench.folder / "run.json"}).code == 2);
  CHECK(run_tool({"check", bench.folder / "run.json", "-g", bench.folder / "none.yaml"}).code == 2);
  bench.check("max_kept_ratio: 1");
  const std::string gate = bench.folder / "gate.yaml";
  CHECK(run_tool({"check", bench.folder / "none.json", "-g", gate}).code == 3);
  CHECK(run_tool({"check", gate, "-g", gate}).code == 3);
  const ProcessResult target =
      run_tool({"check", bench.folder / "run.json", "-g", gate, "--target", "1/8"});
  CHECK(target.code == 3);
  CHECK_THAT(target.err, Contains("it has 1/2 (3 F)"));
  CHECK(bench.check("max_kept_ratio: 1", {"--target", "3"}).code == 0);
}

TEST_CASE("check writes verdict.json and JUnit, and speaks to GitHub when it runs there") {
  const Bench bench;
  const auto summary = bench.folder / "summary.md";
  write_text(summary, "before\n");
  const std::vector<std::string> github = {"GITHUB_ACTIONS=true",
                                           "GITHUB_STEP_SUMMARY=" + summary.string()};
  const Arguments output = {"--output", bench.folder / "out"};
  const ProcessResult failed = bench.check("max_kept_ratio: 0.4", output, github);
  CHECK(failed.code == 1);
  CHECK_THAT(failed.err, Contains("::error file=") && Contains("gate.yaml,line=3,"));
  CHECK_THAT(read_file(summary), Contains("before\n### IndexCache gate failed: 1 of 1 guards"));
  CHECK_THAT(read_file(bench.folder / "out/junit.xml"), Contains("failures=\"1\""));
  const std::string verdict = read_file(bench.folder / "out/verdict.json");
  CHECK(parse_json(verdict, "verdict.json")["passed"] == false);
  const ProcessResult again = bench.check("max_kept_ratio: 0.4", {"--output", bench.folder / "b"});
  CHECK(again.err.empty());
  CHECK(read_file(bench.folder / "b/verdict.json") == verdict);
  const ProcessResult json = bench.check("max_kept_ratio: 0.4", {"--json"}, github);
  CHECK(parse_json(json.out, "stdout")["guards"].size() == 1);
  const ProcessResult passed = bench.check("max_kept_ratio: 0.5", output, github);
  CHECK(passed.code == 0);
  CHECK(passed.err.empty());
  const ProcessResult unwritable =
      bench.check("max_kept_ratio: 0.5", {},
                  {"GITHUB_ACTIONS=true", "GITHUB_STEP_SUMMARY=" + bench.folder.path().string()});
  CHECK(unwritable.code == 0);
  CHECK_THAT(unwritable.err, Contains("warning: cannot write the step summary"));
}

TEST_CASE("check reads a pattern.yaml as it reads the run it came from") {
  const Bench bench;
  write_text(bench.folder / "pattern.yaml", to_pattern_yaml(example_result(), 1));
  write_text(bench.folder / "gate.yaml",
             "schema: indexcache-gate/1\nguards:\n  max_holdout_delta: 0.03\n"
             "  max_sequence_delta: 0.11\n  max_ppl_ratio: 1.1\n  min_donor_overlap: 0.5\n"
             "  same_fingerprint: true\n  same_pattern: true\n  max_delta_over_baseline: 0\n");
  const ProcessResult result =
      run_tool({"check", bench.folder / "pattern.yaml", "-g", bench.folder / "gate.yaml",
                "--baseline", bench.folder / "base.json"},
               {"GITHUB_ACTIONS="});
  INFO(result.out << result.err);
  CHECK(result.code == 0);
}
