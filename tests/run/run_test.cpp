// SPDX-License-Identifier: Apache-2.0
// The whole of `run`, without a child process.
#include "run/run.h"

#include "calibration/calibration_file.h"
#include "core/error.h"
#include "io/files.h"
#include "run/plan.h"
#include "run/search_run.h"
#include "run/segment_students.h"
#include "support/catch.h"
#include "support/environment.h"
#include "support/files.h"
#include "support/tokens.h"

#include <filesystem>

using namespace indexcache;
using namespace indexcache::test;

namespace {

RunOptions options_for(const TempFolder& folder, const std::string& keep) {
  const auto tokens = tiny_tokens(folder);
  RunOptions options;
  options.search.device.model = golden("deepseek_v32_tiny").string();
  options.search.device.device = "cpu";
  options.search.calibration.prepare.inputs = {tokens.string()};
  options.search.constraints.keep = {keep};
  options.search.strategies = {"greedy"};
  options.search.refine = "none";
  options.output = (folder / "run").string();
  return options;
}

Result quiet_run(const RunOptions& options) {
  Progress progress(Progress::Style::silent);
  Ranks alone;
  return run(options, progress, alone);
}

// A result without what two runs do not share.
Result timeless(Result result) {
  result.provenance.created_at.clear();
  result.provenance.search_seconds.reset();
  result.provenance.planned_bytes.reset();
  result.provenance.peak_bytes.reset();
  return result;
}

// Cuts the journal of a finished run after every line, of which it has at least `least`, and
// continues it.
void check_continued(RunOptions options, const Result& whole, std::size_t least = 6) {
  const std::filesystem::path folder = options.output;
  const std::string journal = read_file(folder / "journal.jsonl");
  std::size_t lines = 0;
  for (std::size_t end = 0; (end = journal.find('\n', end)) != journal.npos; ++end, ++lines) {
    const TempFolder other;
    options.output = (other / "run").string();
    std::filesystem::create_directories(other / "run");
    write_file(other / "run/journal.jsonl", journal.substr(0, end + 1));
    CHECK(timeless(quiet_run(options)) == timeless(whole));
  }
  CHECK(lines >= least);
}

}  // namespace

TEST_CASE("a run is cut off after every line of its journal and ends in the same result") {
  const TempFolder folder;
  RunOptions options = options_for(folder, "3");
  options.search.strategies = default_strategies();
  options.search.refine = "swap";
  const Result whole = quiet_run(options);
  REQUIRE(whole.searches.size() == 3);
  CHECK(whole.searches[0].method == "segments");
  CHECK(whole.searches[1].method == "greedy");
  CHECK(whole.searches[2].method == "swap");
  for (std::size_t i : {0, 1}) {
    CHECK(whole.targets[0].calibration.loss <= whole.searches[i].steps.back().loss);
  }
  check_continued(options, whole);
}

TEST_CASE("runs on every family continue after any line of their journal") {
  const TempFolder folder;
  for (const std::string& model : kGoldenModels) {
    RunOptions options = options_for(folder, "2");
    tiny_tokens(folder, 4, 40, 160);
    options.search.device.model = golden(model).string();
    options.search.strategies = default_strategies();
    options.output = (folder / model).string();
    INFO(model);
    check_continued(options, quiet_run(options), 3);
  }
}

TEST_CASE("races, a found size and another objective continue as well") {
  const TempFolder folder;
  RunOptions options = options_for(folder, "3");
  tiny_tokens(folder, 8, 60);
  options.search.strategies = default_strategies();
  options.search.refine = "swap";
  options.search.race_greedy = true;
  options.search.constraints.max_rise = 1e-3;
  for (const char* objective : {"kl", "tail"}) {
    options.search.objective = objective;
    options.output = (folder / objective).string();
    const Result whole = quiet_run(options);
    INFO(objective);
    CHECK(name_of(whole.settings.objective) == objective);
    CHECK(whole.settings.race_confidence == 0.95);
    CHECK(whole.settings.requests == std::vector<std::string>{"3", "max-rise 0.001"});
    CHECK((whole.search_start == 0) == (std::string(objective) == "kl"));
    for (const Target& target : whole.targets) {
      // The losses are next-token losses whatever the objective is.
      CHECK(target.calibration.loss == Approx(whole.baseline_loss).margin(1));
      REQUIRE(target.holdout);
      CHECK(target.holdout->fidelity);
      CHECK_FALSE(target.calibration.fidelity);
    }
    check_continued(options, whole);
  }
}

TEST_CASE("values of one objective are never read as those of another") {
  const TempFolder folder;
  RunOptions options = options_for(folder, "3");
  options.search.objective = "kl";
  quiet_run(options);
  std::filesystem::remove(folder / "run/run.json");  // as if it had been interrupted
  options.search.objective = "loss";
  CHECK_THROWS_AS(quiet_run(options), ResumeMismatch);
  options.search.objective = "tail";
  CHECK_THROWS_AS(quiet_run(options), ResumeMismatch);
  options.search.objective = "kl";
  CHECK(quiet_run(options).complete);
}

TEST_CASE("a budget that is spent before the search begins leaves the baseline") {
  const TempFolder folder;
  RunOptions options = options_for(folder, "3");
  options.budget = "0.000001s";
  for (const char* objective : {"loss", "kl", "tail"}) {
    options.search.objective = objective;
    options.output = (folder / objective).string();
    const Result result = quiet_run(options);
    CHECK_FALSE(result.complete);
    REQUIRE(result.targets.size() == 1);
    CHECK(result.targets[0].request == "budget");
    CHECK(result.targets[0].calibration.pattern == result.baseline);
    CHECK(result.targets[0].calibration.delta.mean == 0);
  }
}

TEST_CASE("without held-out data the calibration data show how predictions change") {
  const TempFolder folder;
  RunOptions options = options_for(folder, "3");
  options.search.holdout = "0";
  const Result result = quiet_run(options);
  REQUIRE(result.targets.at(0).calibration.fidelity);
  CHECK(result.targets[0].calibration.fidelity->kl_mean > 0);
  CHECK(result.targets[0].compared.empty());
}

namespace {

// The plan of a run, and what the run then did.
struct PlanAndRun {
  explicit PlanAndRun(const SearchOptions& options) {
    Progress progress(Progress::Style::silent);
    const Model model = open_model(options.device.model);
    const auto backend = make_backend(options.device);
    const SearchSubject subject = open_subject(options, model, *backend, progress);
    plan = make_plan(model, subject, *backend, options.device);
    Session session(model, make_backend(options.device), options.device);
    const TempFolder folder;
    Journal journal(folder / "j", {{"a", "b"}}, false);
    DeviceInstruments instruments(session, subject, journal, progress, 0);
    steps = search_run(subject, instruments, progress).searches.front().steps.size();
    done = instruments.workload();
  }

  RunPlan plan;
  std::size_t steps = 0;
  Workload done;
};

}  // namespace

TEST_CASE("a plan counts what the run then does, on every model") {
  const TempFolder folder;
  for (const std::string& model : kGoldenModels) {
    RunOptions options = options_for(folder, "2");
    tiny_tokens(folder, 4, 70, 160);
    options.search.device.model = golden(model).string();
    options.search.device.weights = "stream";
    options.search.device.threads = 1;
    const RunPlan roomy = PlanAndRun(options.search).plan;
    for (const bool limited : {false, true}) {
      INFO(model << (limited ? ", limited" : ""));
      if (limited)
        options.search.device.memory_limit =
            std::to_string(roomy.weight_bytes + roomy.work.most_bytes_total() * 2 / 3);
      const PlanAndRun both(options.search);
      CHECK(both.plan.exact);
      CHECK(both.plan.strategies.at(0).steps == both.steps);
      for (const Phase phase :
           {Phase::baseline, Phase::search, Phase::verification, Phase::holdout}) {
        CHECK(both.plan.work.evaluations(phase) == both.done.evaluations(phase));
      }
      CHECK(both.plan.work.passes() == both.done.passes());
      CHECK(both.plan.work.most_bytes() == both.done.most_bytes());
      CHECK(both.plan.work.most_waves() == both.done.most_waves());
      CHECK((both.done.most_waves() > 1) == limited);
    }
  }
}

TEST_CASE("what depends on losses is planned as it typically is, and the plan says so") {
  const TempFolder folder;
  RunOptions options = options_for(folder, "2");
  options.search.refine = "swap";
  const PlanAndRun refined(options.search);
  CHECK(refined.plan.exact);
  CHECK(refined.plan.work.evaluations(Phase::search) == refined.done.evaluations(Phase::search));
  CHECK(refined.done.evaluations(Phase::refinement) > 0);
  CHECK(refined.plan.work.evaluations(Phase::refinement) > 0);
  CHECK(refined.plan.work.evaluations(Phase::refinement) <= 4);  // one F layer, four other places
  CHECK_THAT(plan_lines(refined.plan).at(2), Contains("per round"));
  options.search.refine = "none";
  options.search.constraints.max_run = 2;
  const PlanAndRun bounded(options.search);
  CHECK_FALSE(bounded.plan.exact);
  CHECK_THAT(plan_lines(bounded.plan).front(), Contains("about"));
  CHECK(bounded.plan.strategies.at(0).steps == bounded.steps);
  options.search.constraints.max_run = 0;
  options.search.strategies = default_strategies();
  const PlanAndRun both(options.search);
  CHECK_FALSE(both.plan.exact);
  REQUIRE(both.plan.strategies.size() == 2);
  std::int64_t evaluations = 0;
  for (const StrategyPlan& strategy : both.plan.strategies) {
    CHECK(strategy.evaluations == both.plan.work.evaluations(Phase::search, strategy.name));
    CHECK(both.done.evaluations(Phase::search, strategy.name) > 0);
    evaluations += strategy.evaluations;
  }
  CHECK(evaluations == both.plan.work.evaluations(Phase::search));
}

TEST_CASE("a finished run is not computed again, and a refinement continues it") {
  const TempFolder folder;
  RunOptions options = options_for(folder, "3");
  const Result first = quiet_run(options);
  const std::string bytes = read_file(folder / "run/run.json");
  CHECK(timeless(quiet_run(options)) == timeless(first));
  CHECK(read_file(folder / "run/run.json") == bytes);
  options.search.refine = "swap";
  const Result refined = quiet_run(options);
  REQUIRE(refined.searches.size() == 2);
  CHECK(refined.searches[0] == first.searches[0]);
  CHECK(refined.searches[1].neighborhood);
  options.search.strategies = default_strategies();
  const Result both = quiet_run(options);
  REQUIRE(both.searches.size() == 3);
  CHECK_FALSE(both.searches[0].measured.empty());
  CHECK(both.searches[1] == first.searches[0]);
}

TEST_CASE("durations") {
  CHECK(parse_duration("") == 0);
  CHECK(parse_duration("1h30m") == 5400);
  CHECK(parse_duration("2.5s") == 2.5);
  for (const char* text : {"4", "h", "-1s", "1h x", "0s", "1d", "nans"}) {
    CHECK_THROWS_AS(parse_duration(text), UsageError);
  }
}

TEST_CASE("a run with trained indexers searches with them, and can be cut off anywhere") {
  const ScopedVariable fixed("SOURCE_DATE_EPOCH", "1");
  const TempFolder folder;
  RunOptions options = options_for(folder, "3");
  options.search.strategies = {"segments"};
  options.search.distill = {tiny_tokens(folder, 4).string()};
  options.search.training.dense.steps = 3;
  options.search.training.sparse.steps = 1;
  options.search.training.dense.batch = 2;
  options.search.finishing.steps = 2;
  const Result whole = quiet_run(options);
  const Pattern& pattern = whole.targets.front().calibration.pattern;
  CHECK(pattern.full_count() == 3);
  const std::filesystem::path run = options.output;
  CHECK(std::filesystem::exists(run / "distilled-3F/distill.json"));
  REQUIRE(whole.targets.front().distilled);
  CHECK(whole.targets.front().distilled->without);
  CHECK(std::filesystem::exists(run / "distilled-3F/model"));
  CHECK(quiet_run(options) == whole);  // finished: read again

  // Another training is another run.
  RunOptions other = options;
  other.search.training.dense.steps = 4;
  CHECK_THROWS_AS(quiet_run(other), ResumeMismatch);

  const std::string journal = read_file(run / "journal.jsonl");
  const TempFolder second;
  options.output = (second / "run").string();
  std::filesystem::create_directories(options.output);
  write_file(second / "run/journal.jsonl", journal.substr(0, journal.find('\n') + 1));
  CHECK(quiet_run(options) == whole);

  // The training is over for lack of time, its steps are not lost.
  const TempFolder third;
  options.output = (third / "run").string();
  options.budget = "0.001s";
  CHECK_THROWS_AS(quiet_run(options), ResourceError);
  CHECK(std::filesystem::exists(third / "run/students.safetensors"));
  options.budget.clear();
  CHECK(quiet_run(options) == whole);
}

TEST_CASE("segments that a checkpoint shares already keep its indexer") {
  const TempFolder folder;
  RunOptions options = options_for(folder, "3");
  options.search.device.model = golden("glm_moe_dsa_shared_tiny").string();
  options.search.strategies = {"segments"};
  options.search.distill = {tiny_tokens(folder, 4).string()};
  options.search.training.dense.steps = 2;
  options.search.training.sparse.steps = 0;
  options.search.finishing.steps = 1;
  const Result result = quiet_run(options);  // from FFFSSSFS: one of two segments changes
  const Target& target = result.targets.front();
  REQUIRE(target.distilled);
  CHECK(std::filesystem::exists(std::filesystem::path(options.output) / target.distilled->folder));
}

TEST_CASE("only segments that a pattern may have are trained") {
  SearchSpace space{Pattern::all_full(5), Constraints::none(5), {}};
  CHECK(students_of(space).size() == 10);
  space.constraints.pinned_full[2] = true;
  CHECK(students_of(space) == std::vector<Student>{{0, 2}, {2, 4}, {2, 5}, {3, 5}});
  space.constraints.max_run = 1;
  CHECK(students_of(space) == std::vector<Student>{{0, 2}, {2, 4}, {3, 5}});
  // What the start shares already is not trained for.
  const SearchSpace native{Pattern::parse("FSFSS"), Constraints::none(5), {}};
  CHECK(students_of(native) == std::vector<Student>{{0, 5}});
}
