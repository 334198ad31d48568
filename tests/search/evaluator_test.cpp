// SPDX-License-Identifier: Apache-2.0
#include "core/error.h"
#include "search/reference_case.h"
#include "search/sweep_evaluator.h"

#include <cmath>

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::vector<Pattern> varied_patterns() {
  std::vector<Pattern> patterns;
  for (const char* text :
       {"FFFFFFFFFFFFFFFF", "FFFFFFFFFFFFFFFS", "FSSSSSSSSSSSSSSS", "FFFSFFFFFFFFFFFF",
        "FFFSFFFSFFFFFFFF", "FSFSFSFSFSFSFSFS", "FFFSFFFFFFFFFFFF"}) {  // one of them twice
    patterns.push_back(Pattern::parse(text));
  }
  return patterns;
}

}  // namespace

TEST_CASE("a batch equals each pattern alone, bit for bit") {
  Session<> session(data("dsa-mini"));
  const TokenSet tokens = uneven_sequences(400);
  SweepEvaluator evaluator = session.evaluator(tokens);
  const auto patterns = varied_patterns();
  const auto batch = evaluator.losses(patterns);
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    INFO(patterns[p].text());
    CHECK(evaluator.losses(std::span(&patterns[p], 1)).front() == batch[p]);
  }
  CHECK(batch[3] == batch[6]);
  CHECK(batch[0][0] != batch[2][0]);
  CHECK(batch[0][2] == batch[2][2]);  // prefix rows only
}

TEST_CASE("threads, waves and moving weights do not change a bit") {
  const TokenSet tokens = uneven_sequences(400);
  const auto patterns = varied_patterns();
  Session<> session(data("dsa-mini"));
  const auto expected = session.evaluator(tokens).losses(patterns);
  CHECK(session.evaluator(tokens, {.memory_bytes = 1}).losses(patterns) == expected);
  for (const Placement placement : {Placement::stream, Placement::disk}) {
    Session<> moving(data("dsa-mini"), std::nullopt, placement);
    CHECK(moving.evaluator(tokens).losses(patterns) == expected);
    CHECK(moving.evaluator(tokens).losses(patterns) == expected);  // a second pass
    CHECK(moving.weights.bytes() < session.weights.bytes() / 2);
  }
  for (const int threads : {1, 3}) {
    Session<> other(data("dsa-mini"), std::nullopt, Placement::resident, threads);
    REQUIRE(other.backend.threads() == threads);
    CHECK(other.evaluator(tokens).losses(patterns) == expected);
  }
}

TEST_CASE("visits that are timed, each with its own work, change no bit") {
  const TokenSet tokens = uneven_sequences(400);
  const auto patterns = varied_patterns();
  Session<> session(data("dsa-mini"));
  SweepEvaluator evaluator = session.evaluator(tokens);
  const auto expected = evaluator.losses(patterns);
  int visits = 0;
  evaluator.set_clock([&](Visit, std::size_t, double) { ++visits; });
  CHECK(evaluator.losses(patterns) == expected);
  CHECK(visits > 16);
}

TEST_CASE("some sequences have the losses that they have among all, wave by wave") {
  Session<> session(data("dsa-mini"));
  const TokenSet tokens = uneven_sequences(400);
  const auto patterns = varied_patterns();
  const auto all = session.evaluator(tokens).losses(patterns);
  SweepEvaluator evaluator = session.evaluator(tokens, {.memory_bytes = 1});
  const std::vector<std::size_t> chosen = {0, 2};
  std::vector<std::size_t> reported;
  const auto some = evaluator.losses({patterns, chosen, [&](const LossPart& part) {
                                        REQUIRE(part.losses.size() == patterns.size());
                                        REQUIRE(part.patterns.size() == patterns.size());
                                        reported.insert(reported.end(), part.sequences.begin(),
                                                        part.sequences.end());
                                      }});
  CHECK(reported == chosen);
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    CHECK(some[p] == SequenceLosses{all[p][0], all[p][2]});
  }
}

TEST_CASE("the mean weighs sequences by their predicted tokens") {
  Session<> session(data("dsa-mini"));
  const TokenSet tokens = uneven_sequences(400);
  const SweepEvaluator evaluator = session.evaluator(tokens);
  CHECK(evaluator.weights() == std::vector<double>{399, 210, 99});
  CHECK(evaluator.mean({1, 2, 4}) == Approx((399 + 2 * 210 + 4 * 99) / 708.0));
}

TEST_CASE("progress reaches its total, and no pattern is no work") {
  Session<> session(data("dsa-mini"));
  const TokenSet tokens = cut(uneven_sequences(400), 1, 140);
  SweepEvaluator evaluator = session.evaluator(tokens);
  std::size_t last = 0, all = 0;
  evaluator.set_progress([&](std::size_t done, std::size_t total) {
    CHECK(done == last + 1);
    last = done;
    all = total;
  });
  evaluator.losses(varied_patterns());
  CHECK(last == all);
  CHECK(evaluator.losses(std::span<const Pattern>()).empty());
}

TEST_CASE("a loss that is not finite is refused with the sequence") {
  const TempFolder folder;
  copy_folder(golden("deepseek_v32_tiny"), folder.path());
  auto tensors = read_safetensors(folder / "model.safetensors");
  for (StoredTensor& tensor : tensors) {
    if (tensor.name != "model.norm.weight") continue;
    tensor.bytes = bytes_of(std::vector<float>(64, 3e38f));  // finite, but every logit overflows
  }
  write_safetensors(folder / "model.safetensors", tensors);
  Session<> session(folder.path());
  TokenSet tokens{"x", {std::vector<std::int32_t>(40, 7)}};
  const Pattern full = Pattern::all_full(6);
  CHECK_THROWS_AS(session.evaluator(tokens).losses(std::span(&full, 1)), InputError);
}

TEST_CASE("where sets of every query do not fit, those of some stand for them") {
  check_overlap_of_some_queries<CpuBackend>();
}
