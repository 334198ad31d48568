// SPDX-License-Identifier: Apache-2.0
// What a plan counts is what a sweep then does, and what it holds.
#include "search/costs.h"
#include "search/greedy.h"
#include "search/run_plan.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/session.h"

#include <map>

using namespace indexcache;
using namespace indexcache::test;

namespace {

TokenSet example_tokens() {
  TokenSet tokens{"x", {}};
  for (std::int32_t s = 0; s < 5; ++s) {
    tokens.sequences.emplace_back();
    for (std::int32_t t = 0; t < 60 + 30 * s; ++t) {
      tokens.sequences.back().push_back((t * t + 31 * s) % 320);
    }
  }
  return tokens;
}

std::vector<Pattern> parsed(const std::vector<std::string>& texts) {
  std::vector<Pattern> patterns;
  for (const std::string& text : texts) patterns.push_back(Pattern::parse(text));
  return patterns;
}

}  // namespace

TEST_CASE("visits are counted as the sweep makes them, equal patterns and forks included") {
  Session<> session(golden("deepseek_v32_tiny"));
  const TokenSet tokens = example_tokens();
  for (const auto& texts :
       std::vector<std::vector<std::string>>{{"FFFFFF"},
                                             {"FSSSSS"},
                                             {"FSFFFF", "FFSFFF", "FFFSFF", "FFFFSF", "FFFFFS"},
                                             {"FFSFSS", "FFSFSS", "FSFSFS", "FSFSSS"}}) {
    const auto patterns = parsed(texts);
    Evaluator evaluator = session.evaluator(tokens);
    std::map<std::pair<bool, Visit>, std::int64_t> seen;
    std::size_t reported = 0, total = 0;
    evaluator.set_clock([&](Visit visit, std::size_t layer, double) {
      ++seen[{layer < 6 && session.model.config.moe_layer[layer], visit}];
    });
    evaluator.set_progress([&](std::size_t done, std::size_t all) {
      reported = done;
      total = all;
    });
    evaluator.losses(patterns);
    CHECK(reported == total);
    const Visits visits = count_visits(patterns, session.model.config.moe_layer);
    for (std::size_t kind = 0; kind < 2; ++kind) {
      for (std::size_t v = 0; v < kVisits; ++v) {
        const auto visit = static_cast<Visit>(v);
        const std::int64_t parts = visit == Visit::dense ? 2 : 1;  // keys, and the rest
        INFO(texts.front() << ": " << kVisitNames[v] << ", experts " << kind);
        CHECK(seen[{kind == 1, visit}] == parts * visits.counts[kind][v]);
      }
    }
  }
}

TEST_CASE("a step of n candidates costs about half of n patterns") {
  std::vector<Pattern> candidates;
  for (std::size_t layer = 1; layer < 40; ++layer) {
    candidates.push_back(Pattern::all_full(40).with_shared(layer));
  }
  const Visits visits = count_visits(candidates, std::vector<bool>(40, true));
  // Candidate l leaves the common stream at layer l: it alone passes layers l … 39.
  CHECK(visits.of(Visit::fork) == 38);
  CHECK(visits.of(Visit::loss) == 39);
  CHECK(visits.stream_layers() == 39 * 40 / 2 + 39);
}

TEST_CASE("a plan counts the evaluations, passes and bytes of the run that follows") {
  // One thread: with the scratch memory of more, three quarters would not be tight.
  Session<> session(golden("deepseek_v32_tiny"), std::nullopt, Placement::stream, 1);
  const ModelConfig& config = session.model.config;
  const TokenSet tokens = example_tokens();
  const Pattern baseline = Pattern::all_full(6);
  const Constraints constraints = Constraints::none(6);
  const WeightSizes sizes =
      weight_sizes(config, session.model.checkpoint, session.model.has_indexer, DType::f32);
  const std::int64_t tight = session.evaluator(tokens).plan(1).total() * 3 / 4;
  for (const std::int64_t memory : {std::int64_t{1} << 40, tight}) {
    EvaluatorOptions options{.memory_bytes = memory, .enforce = true};
    const RunPlan plan = plan_run({config,
                                   baseline,
                                   constraints,
                                   {4, 2},
                                   tokens,
                                   nullptr,
                                   session.backend,
                                   sizes,
                                   Placement::stream,
                                   options});
    CHECK(plan.fits);
    CHECK(plan.steps == 4);
    CHECK(plan.evaluations == 5 + 4 + 3 + 2);
    CHECK(plan.unshared_stream_layers == 6 * plan.evaluations);
    CHECK(plan.stream_layers < plan.unshared_stream_layers);
    CHECK(plan.streamed_bytes == plan.passes * sizes.stored);
    // The search itself: passes of its sweeps, by the layers that it asks for.
    std::int64_t planned = 0;
    for (const PlannedSweep& sweep : plan.sweeps) {
      if (sweep.name.starts_with("step")) planned += sweep.passes;
    }
    Evaluator evaluator = session.evaluator(tokens, options);
    std::int64_t dense_visits = 0;
    evaluator.set_clock([&](Visit visit, std::size_t layer, double) {
      dense_visits += visit == Visit::dense && layer == 0 ? 1 : 0;
    });
    greedy_search(evaluator, baseline, constraints, 2,
                  {[](std::size_t, const Pattern&) { return std::nullopt; },
                   [](std::size_t, const Step&) {}});
    CHECK(dense_visits == 2 * planned);
    CHECK((planned > 4) == (memory < std::int64_t{1} << 30));
    // Memory that was really held stays within the plan, and near it.
    const std::int64_t peak = session.backend.memory_use().peak_total;
    CHECK(peak <= plan.device_bytes());
  }
}

TEST_CASE("a run that cannot be cut to fit is planned as one that does not fit") {
  Session<> session(golden("deepseek_v32_tiny"));
  const WeightSizes sizes = weight_sizes(session.model.config, session.model.checkpoint,
                                         session.model.has_indexer, DType::f32);
  const TokenSet tokens = example_tokens();
  const RunPlan plan = plan_run({session.model.config,
                                 Pattern::all_full(6),
                                 Constraints::none(6),
                                 {3},
                                 tokens,
                                 nullptr,
                                 session.backend,
                                 sizes,
                                 Placement::resident,
                                 {.memory_bytes = 1000}});
  CHECK_FALSE(plan.fits);
  CHECK(plan.tight == "baseline and overlap");
}

TEST_CASE("the time of a plan is the larger of computing and streaming, pass by pass") {
  RunPlan plan;
  plan.sweeps.resize(2);
  for (PlannedSweep& sweep : plan.sweeps) {
    sweep.tokens = 10;
    sweep.passes = 2;
    sweep.visits.counts[0][static_cast<std::size_t>(Visit::full)] = 3;
    sweep.visits.counts[1][static_cast<std::size_t>(Visit::full)] = 5;
  }
  const WeightSizes weights{
      .outer = 1, .layers = 1, .largest_layer = 1, .stored = 100, .largest_stored = 1};
  Costs costs;
  costs.visit[0][static_cast<std::size_t>(Visit::full)] = 0.1;
  costs.visit[1][static_cast<std::size_t>(Visit::full)] = 0.2;
  CHECK(run_time(plan, costs, weights).total() == Approx(2 * 10 * 1.3));
  costs.stream_byte = 0.5;  // 100 s a sweep: more than its 13 s of computing
  CHECK(run_time(plan, costs, weights).total() == Approx(26));  // nothing is streamed
  plan.streamed_bytes = 400;
  const RunTime time = run_time(plan, costs, weights);
  CHECK(time.total() == Approx(200));
  CHECK(time.dominating() == "bringing weights to the device");
  costs.stream_byte = 0;
  costs.first_byte = 1;
  CHECK(run_time(plan, costs, weights).first_load == Approx(87));
}

TEST_CASE("placements are chosen in the order of their speed") {
  const WeightSizes sizes{
      .outer = 10, .layers = 100, .largest_layer = 5, .stored = 80, .largest_stored = 4};
  CHECK(choose_placement(sizes, 200, 1000) == Placement::resident);
  CHECK(choose_placement(sizes, 140, 1000) == Placement::stream);
  CHECK(choose_placement(sizes, 140, 150) == Placement::disk);
}
