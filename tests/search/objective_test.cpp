// SPDX-License-Identifier: Apache-2.0
// Objectives of a search, and how far predictions are from those of the reference.
#include "search/objective.h"

#include "search/fidelity.h"
#include "search/overlap.h"
#include "search/reference_case.h"
#include "search/sweep_evaluator.h"
#include "support/catch.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// dsa-mini on three sequences, of which one is not longer than index_topk.
struct Mini {
  Session<> session{data("dsa-mini")};
  TokenSet tokens = uneven_sequences(400);
  Pattern full = session.model.baseline();
  std::vector<Pattern> patterns = {full, Pattern::parse("FSFSSSSSSFFSSSSS"),
                                   Pattern::parse("FFFFFFFFFFFFFFFS"),
                                   Pattern::parse("FSSSSSSSSSSSSSSS")};

  SweepEvaluator evaluator(SweepGoal goal, std::int64_t memory = std::int64_t{4} << 30) {
    return session.evaluator(tokens, {.memory_bytes = memory}, std::move(goal));
  }
};

}  // namespace

TEST_CASE("the tail's loss differs by as much as the loss, over the tokens where patterns differ") {
  Mini mini;
  SweepEvaluator plain = mini.evaluator({}), tail = mini.evaluator({Objective::tail});
  const auto losses = plain.losses(mini.patterns), tails = tail.losses(mini.patterns);
  const std::int64_t topk = mini.session.model.config.index_topk;
  for (std::size_t s = 0; s < mini.tokens.sequences.size(); ++s) {
    const double count = std::max(plain.weights()[s] - static_cast<double>(topk), 0.0);
    CHECK(tail.weights()[s] == count);
    for (std::size_t p = 1; p < mini.patterns.size(); ++p) {
      CHECK((tails[p][s] - tails[0][s]) * count ==
            Approx((losses[p][s] - losses[0][s]) * plain.weights()[s]).margin(1e-6));
    }
  }
  CHECK(tails[1][2] == 0);  // the short sequence has no such token
}

TEST_CASE("the divergence of the reference is 0, and grows as indexers are removed") {
  Mini mini;
  SweepEvaluator evaluator = mini.evaluator({Objective::kl, mini.full});
  const auto divergence = evaluator.losses(mini.patterns);
  for (std::size_t s = 0; s < mini.tokens.sequences.size(); ++s) CHECK(divergence[0][s] == 0);
  CHECK(evaluator.mean(divergence[1]) > 0);
  CHECK(evaluator.mean(divergence[2]) < evaluator.mean(divergence[1]));
  CHECK(evaluator.mean(divergence[3]) > evaluator.mean(divergence[1]));
}

TEST_CASE("a divergence has the same bits in any batch and with any memory") {
  Mini mini;
  const SweepGoal goal{Objective::kl, mini.full};
  SweepEvaluator evaluator = mini.evaluator(goal);
  const auto batch = evaluator.losses(mini.patterns);
  for (std::size_t p = 0; p < mini.patterns.size(); ++p) {
    CHECK(evaluator.losses(std::span(&mini.patterns[p], 1)).front() == batch[p]);
  }
  CHECK(mini.evaluator(goal, 1).losses(mini.patterns) == batch);
}

TEST_CASE("fidelity is of the tokens beyond index_topk, in any batch and with any memory") {
  Mini mini;
  const SweepGoal goal{Objective::loss, mini.full};
  SweepEvaluator evaluator = mini.evaluator(goal);
  std::vector<SequenceLosses> losses;
  const LossRequest request{mini.patterns, evaluator.all_sequences()};
  const auto fidelity = evaluator.measure_fidelity(request, losses);
  CHECK(losses == mini.evaluator({}).losses(mini.patterns));
  SweepEvaluator tails = mini.evaluator({Objective::tail});
  SweepEvaluator kl = mini.evaluator({Objective::kl, mini.full});
  const auto tail_losses = tails.losses(mini.patterns), divergences = kl.losses(mini.patterns);
  double tokens = 0;
  for (const double weight : tails.weights()) tokens += weight;
  for (std::size_t p = 0; p < mini.patterns.size(); ++p) {
    INFO(mini.patterns[p].text());
    REQUIRE(fidelity[p]);
    CHECK(static_cast<double>(fidelity[p]->tokens) == tokens);
    double sum = 0, reference = 0, count = 0;
    for (const PositionLosses& at : fidelity[p]->positions) {
      sum += at.loss * static_cast<double>(at.tokens);
      reference += at.reference_loss * static_cast<double>(at.tokens);
      count += static_cast<double>(at.tokens);
    }
    CHECK(count == tokens);
    CHECK(sum / count == Approx(tails.mean(tail_losses[p])));
    CHECK(reference / count == Approx(tails.mean(tail_losses[0])));
    double all = 0;
    for (const double weight : kl.weights()) all += weight;
    CHECK(fidelity[p]->kl_mean * tokens == Approx(kl.mean(divergences[p]) * all).margin(1e-9));
    CHECK(fidelity[p]->kl_p99 >= fidelity[p]->kl_mean);
  }
  CHECK(fidelity[0]->same_top1 == 1);
  CHECK(fidelity[0]->kl_mean == 0);
  CHECK(fidelity[0]->kl_p99 == 0);
  CHECK(fidelity[1]->same_top1 < 1);
  CHECK(fidelity[3]->same_top1 < fidelity[1]->same_top1);
  std::vector<SequenceLosses> again;
  CHECK(mini.evaluator(goal, 1).measure_fidelity(request, again) == fidelity);
  CHECK(again == losses);
}

TEST_CASE("the 99th percentile is the nearest rank, and buckets without tokens are left out") {
  FidelityMeter meter(2, 1, 4, {8, 16, 32});
  for (int i = 1; i <= 100; ++i) {
    meter.add(0, 0, i % 2 == 0 ? 5 : 20, {1, 3, static_cast<double>(i), i > 25});
  }
  const auto results = meter.results();
  REQUIRE(results[0]);
  CHECK(results[0]->kl_p99 == 99);
  CHECK(results[0]->kl_mean == Approx(50.5));
  CHECK(results[0]->same_top1 == 0.75);
  REQUIRE(results[0]->positions.size() == 2);
  CHECK(results[0]->positions[0] == PositionLosses{4, 8, 50, 1, 3});
  CHECK(results[0]->positions[1] == PositionLosses{16, 32, 50, 1, 3});
  CHECK_FALSE(results[1]);
}
