// SPDX-License-Identifier: Apache-2.0
// What a plan counts is what a sweep then does, and what it holds.
#include "backend/cpu/cpu_backend.h"
#include "io/files.h"
#include "io/yaml.h"
#include "model/config.h"
#include "model/decoder.h"
#include "search/costs.h"
#include "search/counting_evaluator.h"
#include "search/greedy.h"
#include "search/memo_evaluator.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/layers.h"
#include "support/session.h"

#include <algorithm>
#include <map>
#include <optional>

using namespace indexcache;
using namespace indexcache::test;

namespace {

TokenSet example_tokens() {
  TokenSet tokens{"x", {}};
  for (std::int32_t s = 0; s < 5; ++s) {
    tokens.sequences.emplace_back();
    for (std::int32_t t = 0; t < 60 + 30 * s; ++t) {
      tokens.sequences.back().push_back((t * t + 31 * s) % 160);
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
    SweepEvaluator evaluator = session.evaluator(tokens);
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
    const Visits visits = count_visits(patterns, session.model.config);
    for (std::size_t kind = 0; kind < 2; ++kind) {
      for (std::size_t v = 0; v < kVisits; ++v) {
        const auto visit = static_cast<Visit>(v);
        const std::int64_t parts = visit == Visit::prefix ? 2 : 1;  // keys, and the rest
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
  const Visits visits = count_visits(candidates, of_layers(40, true));
  // Candidate l leaves the common stream at layer l: it alone passes layers l … 39.
  CHECK(visits.of(Visit::fork) == 38);
  CHECK(visits.of(Visit::loss) == 39);
  CHECK(visits.stream_layers() == 39 * 40 / 2 + 39);
}

// Counts of a greedy search whose losses come from `inner`.
Workload greedy_work(Evaluator& inner, const SweepPlanner& planner, const SearchSpace& space) {
  Workload work;
  const WorkPart part{Phase::search, "greedy"};
  CountingEvaluator counting(inner, planner, part, work);
  greedy_search(counting, space, [](const PathStep&) {});
  return work;
}

// What a search on `session` does is what was counted before it, with these patterns and limits.
void check_counts(Session<>& session, const TokenSet& tokens, const SearchSpace& space,
                  SweepMemory limits) {
  SweepEvaluator sweep = session.evaluator(tokens, limits);
  std::int64_t first_layers = 0;
  std::map<Visit, std::int64_t> seen;
  sweep.set_clock([&](Visit visit, std::size_t layer, double) {
    first_layers += visit == Visit::prefix && layer == 0 ? 1 : 0;
    ++seen[visit];
  });
  const Workload done = greedy_work(sweep, sweep.planner(), space);
  GuessingEvaluator guess(sweep.weights());
  const Workload planned = greedy_work(guess, sweep.planner(), space);
  // What was really done, seen from within the sweep: two prefix visits per pass and layer.
  CHECK(first_layers == 2 * planned.passes());
  CHECK(planned.passes() == done.passes());
  CHECK(planned.evaluations(Phase::search) == done.evaluations(Phase::search));
  CHECK(planned.most_bytes() == done.most_bytes());
  CHECK(planned.most_waves() == done.most_waves());
  CHECK((planned.most_waves() > 1) == (limits.memory_bytes < std::int64_t{1} << 40));
  // Visits depend on the path. With the losses of the real run they are what it did.
  SweepEvaluator plain = session.evaluator(tokens);
  const Workload fed = greedy_work(plain, sweep.planner(), space);
  CHECK(fed.layer_visits(Phase::search) == done.layer_visits(Phase::search));
  std::int64_t streams = 0;
  for (const CountedSweep& counted : fed.sweeps) {
    const auto waves = static_cast<std::int64_t>(counted.cut.waves.size());
    streams += waves * counted.visits.of(Visit::fork);
  }
  CHECK(seen[Visit::fork] == streams);
}

TEST_CASE("what is counted without computing is what a search then does, whatever the model") {
  const TokenSet tokens = example_tokens();
  for (const std::string& model : kGoldenModels) {
    INFO(model);
    const std::filesystem::path folder = golden(model);
    // One thread: with the scratch memory of more, three quarters would not be tight.
    Session<> session(folder, std::nullopt, Placement::stream, 1);
    const auto layers = static_cast<std::size_t>(session.model.config.layers);
    const std::int64_t one = session.evaluator(tokens).planner().plan(1).total();
    SearchSpace space{Pattern::all_full(layers), Constraints::none(layers), {4, 2}};
    for (const std::int64_t memory : {std::int64_t{1} << 40, one * 5 / 8}) {
      check_counts(session, tokens, space, {.memory_bytes = memory, .enforce = true});
    }
  }
}

TEST_CASE("what is counted without computing is what a search then does, whatever the space") {
  Session<> session(golden("deepseek_v32_tiny"), std::nullopt, Placement::stream, 1);
  const TokenSet tokens = example_tokens();
  const std::int64_t one = session.evaluator(tokens).planner().plan(1).total();
  SearchSpace pinned{Pattern::all_full(6), Constraints::none(6), {3}};
  pinned.constraints.pinned_shared[2] = pinned.constraints.pinned_full[4] = true;
  const SearchSpace without_an_indexer{Pattern::parse("FFSFFF"), Constraints::none(6), {2}};
  for (const SearchSpace& space : {without_an_indexer, pinned}) {
    for (const std::int64_t memory : {std::int64_t{1} << 40, one * 5 / 8}) {
      check_counts(session, tokens, space, {.memory_bytes = memory, .enforce = true});
    }
  }
}

TEST_CASE(
    "with bounded runs the candidates depend on the path: fed with its losses, counts agree") {
  Session<> session(golden("deepseek_v32_tiny"));
  const TokenSet tokens = example_tokens();
  SearchSpace space{Pattern::all_full(6), Constraints::none(6), {3}};
  space.constraints.max_run = 2;
  SweepEvaluator sweep = session.evaluator(tokens);
  LossTable known(tokens.sequences.size());
  MemoEvaluator measured(sweep, known);
  const Workload done = greedy_work(measured, sweep.planner(), space);
  MemoEvaluator fed(measured, known);
  const Workload planned = greedy_work(fed, sweep.planner(), space);
  CHECK(planned.evaluations(Phase::search) == done.evaluations(Phase::search));
  CHECK(planned.layer_visits(Phase::search) == done.layer_visits(Phase::search));
}

namespace {

// A device whose operations hold logits only while they run, and whose attention takes memory.
class WithLogits : public CpuBackend {
 public:
  WithLogits(std::int64_t logits, std::int64_t attention_row)
      : CpuBackend(1), logits_(logits), attention_row_(attention_row) {}
  std::int64_t logits_bytes(const ModelShape&, std::int64_t, std::int64_t) const override {
    return logits_;
  }
  std::int64_t attention_row_bytes(const ModelShape&) const override { return attention_row_; }

 private:
  std::int64_t logits_, attention_row_;
};

}  // namespace

TEST_CASE("plans have logits next to steps that compute them, not next to attention or MLPs") {
  const ModelConfig config = read_config(golden("deepseek_v32_tiny"));
  const TokenSet tokens = example_tokens();
  std::int64_t rows = 0, all = 0;
  for (const auto& sequence : tokens.sequences) {
    const auto length = static_cast<std::int64_t>(sequence.size());
    rows += length - config.first_selecting_position();
    all += length;
  }
  for (const std::int64_t attention_row : {0, 5000}) {  // the MLPs take most, or attention does
    INFO(attention_row);
    const auto planned = [&](std::int64_t logits, std::size_t patterns = 30,
                             const std::optional<Pattern>& reference = {}) {
      const WithLogits device(logits, attention_row);
      const SweepMemory memory{.memory_bytes = std::int64_t{1} << 40};
      return SweepPlanner(config, device, tokens, memory, reference).plan(patterns).total();
    };
    const WithLogits device(0, attention_row);
    const std::int64_t attend = rows * Decoder::attend_row_bytes(config, device);
    const std::int64_t mlp = all * Decoder::feed_forward_row_bytes(config, device);
    REQUIRE((attend > mlp) == (attention_row > 0));
    const std::int64_t layer = std::max(attend, mlp);
    const std::int64_t select = rows * Decoder::select_row_bytes(config, device);
    REQUIRE(select < layer);
    CHECK(planned(layer - select) == planned(0));
    CHECK(planned(layer - select + 1000) == planned(0) + 1000);
    // Comparisons take as many patterns at a time as a layer has room for, or all there are.
    const Pattern full = Pattern::all_full(6);
    CHECK(planned(layer - select, 3, full) == planned(0, 3, full));
    const std::int64_t at_once =
        std::min<std::int64_t>(31, Decoder::compared_at_once(config, device));
    const std::int64_t compare = rows * Decoder::compare_row_bytes(config, device, at_once);
    REQUIRE(select < compare);
    REQUIRE(compare <= layer);
    CHECK(planned(layer - compare, 30, full) == planned(0, 30, full));
    CHECK(planned(layer - compare + 1000, 30, full) == planned(0, 30, full) + 1000);
  }
}

TEST_CASE("plans have logits next to losses, which take all rows, where chunks are small") {
  const ModelConfig config = read_config(golden("deepseek_v32_tiny"));
  const TokenSet tokens{"x", {std::vector<std::int32_t>(6000, 1)}};
  const auto planned = [&](std::int64_t logits) {
    const WithLogits device(logits, 0);
    return SweepPlanner(config, device, tokens, {.memory_bytes = 1}).plan(1).total();
  };
  for (const std::int64_t logits : {1, 1000, 1'000'000}) {
    CHECK(planned(logits) == planned(0) + logits);
  }
}

TEST_CASE("what cannot be cut to fit is counted as what does not fit") {
  Session<> session(golden("deepseek_v32_tiny"));
  const TokenSet tokens = example_tokens();
  const SweepPlanner planner(session.model.config, session.backend, tokens, {.memory_bytes = 1000});
  const Pattern full = Pattern::all_full(6);
  const std::vector<std::size_t> all = {0, 1, 2, 3, 4};
  Workload work;
  work.sweeps.push_back(count_sweep(planner, Phase::baseline, std::span(&full, 1), all));
  REQUIRE(work.tight() != nullptr);
  CHECK(work.tight()->phase == Phase::baseline);
}

TEST_CASE("the time of a plan is the larger of computing and streaming, pass by pass") {
  CountedSweep sweep{Phase::search, 1, 10, 2, {}, {}};
  sweep.visits.counts[0][static_cast<std::size_t>(Visit::full)] = 3;
  sweep.visits.counts[1][static_cast<std::size_t>(Visit::full)] = 5;
  const Workload work{{sweep, sweep}};
  const WeightSizes weights{
      .outer = 1, .layers = 1, .largest_layer = 1, .stored = 100, .largest_stored = 1};
  Costs costs;
  costs.visit[0][static_cast<std::size_t>(Visit::full)] = 0.1;
  costs.visit[1][static_cast<std::size_t>(Visit::full)] = 0.2;
  CHECK(run_time(work, false, costs, weights).total() == Approx(2 * 10 * 1.3));
  costs.stream_byte = 0.5;  // 100 s per sweep: more than its 13 s of computing
  CHECK(run_time(work, false, costs, weights).total() == Approx(26));  // nothing is streamed
  const RunTime time = run_time(work, true, costs, weights);
  CHECK(time.total() == Approx(200));
  CHECK(time.dominating() == "transferring weights to the device");
  costs.stream_byte = 0;
  costs.first_byte = 1;
  CHECK(run_time(work, true, costs, weights).first_load == Approx(87));
}

TEST_CASE("weights on disk come at the speed of a disk in every pass") {
  Session<> session(golden("deepseek_v32_tiny"));
  const auto costs = [&](Placement placement) {
    return estimated_costs(session.model.config, example_tokens(), session.backend, placement, 1);
  };
  CHECK(costs(Placement::disk).stream_byte == costs(Placement::disk).first_byte);
  CHECK(costs(Placement::stream).stream_byte < costs(Placement::disk).stream_byte);
}

// Measured on an H200 with --precision fp8 (docs/performance.md), without the loss.
TEST_CASE("the share of the indexers in a prefill is as measured, within 6 points") {
  const auto share = [](const std::string& shape, std::int64_t tokens) {
    const std::filesystem::path path =
        std::filesystem::path(INDEXCACHE_SOURCE_DIR) / "configs" / (shape + ".yaml");
    const ModelConfig config = parse_config(parse_yaml(read_file(path), path)["config"], path);
    return indexer_share(config, std::vector<bool>(static_cast<std::size_t>(config.layers), true),
                         tokens);
  };
  CHECK(share("deepseek-v3.2", 32768) == Approx(0.71 / 5.92).margin(0.06));
  CHECK(share("glm-5", 32768) == Approx(0.51 / 5.22).margin(0.06));
  CHECK(share("dsa-30b", 32768) == Approx(0.26 / 1.21).margin(0.06));
  CHECK(share("dsa-30b", 200000) == Approx(9.19 / 15.55).margin(0.06));
  CHECK(share("dsa-30b", 2000) == 0);  // no query chooses
}

TEST_CASE("placements are chosen in the order of their speed") {
  const WeightSizes sizes{
      .outer = 10, .layers = 100, .largest_layer = 5, .stored = 80, .largest_stored = 4};
  CHECK(choose_placement(sizes, 200, 1000) == Placement::resident);
  CHECK(choose_placement(sizes, 140, 1000) == Placement::stream);
  CHECK(choose_placement(sizes, 140, 150) == Placement::disk);
}
