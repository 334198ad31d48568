// SPDX-License-Identifier: Apache-2.0
// Losses of dense attention: those of the model that runs every indexer where nothing is left out,
// others elsewhere, and the same bits in any batch.
#include "search/reference_case.h"
#include "search/sweep_evaluator.h"

#include <limits>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr const char* kFamilies[] = {"deepseek_v32_tiny", "glm_moe_dsa_shared_tiny", "axk2_tiny",
                                     "hy_v4_tiny"};

// Lengths around the blocks of queries and keys.
TokenSet ragged_tokens() {
  TokenSet tokens;
  for (const int length : {300, 2, 33, 270}) {
    tokens.sequences.emplace_back();
    for (int t = 0; t < length; ++t) tokens.sequences.back().push_back((t * t + 31 * t) % 160);
  }
  return tokens;
}

SequenceLosses dense_losses(Session<>& session, const TokenSet& tokens, SweepMemory memory) {
  session.model.config.dense = true;
  SequenceLosses losses = session.evaluator(tokens, memory).losses_of(session.model.baseline());
  session.model.config.dense = false;
  return losses;
}

constexpr SweepMemory kRoom = {.memory_bytes = std::int64_t{4} << 30};

}  // namespace

TEST_CASE("dense attention equals all-Full of a model that selects everything, in every family") {
  const TokenSet tokens = ragged_tokens();
  for (const char* family : kFamilies) {
    INFO(family);
    Session<> session(golden(family));
    const SequenceLosses dense = dense_losses(session, tokens, kRoom);
    const SequenceLosses sparse = session.evaluator(tokens).losses_of(session.model.baseline());
    session.model.config.index_topk = 300;
    const SequenceLosses all = session.evaluator(tokens).losses_of(session.model.baseline());
    for (std::size_t s = 0; s < all.size(); ++s) CHECK(dense[s] == Approx(all[s]).epsilon(1e-6));
    CHECK(std::abs(dense[0] - sparse[0]) > 1e-4);
    CHECK(dense[1] == Approx(sparse[1]).epsilon(1e-6));  // two tokens: nothing is left out
  }
}

TEST_CASE("dense losses have the same bits by themselves, in waves, chunks, and on any threads") {
  const TokenSet tokens = ragged_tokens();
  for (const char* family : kFamilies) {
    INFO(family);
    Session<> session(golden(family));
    const SequenceLosses batch = dense_losses(session, tokens, kRoom);
    CHECK(dense_losses(session, tokens, {.memory_bytes = 1}) == batch);
    for (std::size_t s = 0; s < batch.size(); ++s) {
      const TokenSet alone{tokens.source, {tokens.sequences[s]}};
      CHECK(dense_losses(session, alone, kRoom).front() == batch[s]);
    }
    Session<> threads(golden(family), std::nullopt, Placement::stream, 3);
    CHECK(dense_losses(threads, tokens, kRoom) == batch);
  }
}

TEST_CASE("a pattern changes nothing of dense attention, and indexers do not run") {
  const TokenSet tokens = ragged_tokens();
  Session<> session(golden("deepseek_v32_tiny"));
  session.model.config.dense = true;
  SweepEvaluator evaluator = session.evaluator(tokens);
  const std::vector<Pattern> patterns = {Pattern::parse("FFFFFF"), Pattern::parse("FSSSSS")};
  const auto losses = evaluator.losses(patterns);
  CHECK(losses[0] == losses[1]);
  CHECK(session.backend.memory_use().peak[static_cast<std::size_t>(Memory::index_sets)] == 0);
  CHECK(session.model.config.first_selecting_position() ==
        std::numeric_limits<std::int64_t>::max());
}

TEST_CASE("the plan of dense attention counts the expanded keys and values") {
  const TokenSet tokens = ragged_tokens();
  for (const char* family : kFamilies) {
    Session<> session(golden(family));
    session.model.config.dense = true;
    const ModelConfig& c = session.model.config;
    SweepEvaluator evaluator = session.evaluator(tokens);
    evaluator.losses_of(session.model.baseline());
    const SweepPlan plan = evaluator.planner().plan(1);
    const MemoryUse use = session.backend.memory_use();
    INFO(family << ": planned " << plan.total() << ", peak " << use.peak_total);
    for (std::size_t k = 1; k < kMemoryKinds; ++k) CHECK(use.peak[k] <= plan.bytes[k]);
    // More than what all rows take of the heads that are expanded at once.
    CHECK(use.peak[static_cast<std::size_t>(Memory::workspace)] >
          605 * 4 * Decoder::heads_expanded_at_once(c) * (c.qk_nope_head_dim + c.v_head_dim));
  }
}
