// SPDX-License-Identifier: Apache-2.0
// Indexers on the CPU in the types in which they are deployed: what they select, and every law of
// other precisions. Golden cases compare what they select with another program, too.
#include "search/golden_case.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr std::int64_t kPositions = 120, kMembers = 16, kHeads = 4;

// Two sequences of kPositions, all rows that select.
RowLayout selecting_rows() {
  RowLayout rows;
  for (int s = 0; s < 2; ++s) rows.append(kPositions - kMembers, kMembers);
  return rows;
}

RowLayout all_rows() {
  RowLayout rows;
  for (int s = 0; s < 2; ++s) rows.append(kPositions, 0);
  return rows;
}

IndexOperands random_operands(std::int64_t width) {
  const auto numbers = [](std::int64_t count, unsigned seed) {
    return random_floats(static_cast<std::size_t>(count), seed);
  };
  return {numbers(selecting_rows().total * kHeads * width, 1),
          numbers(selecting_rows().total * kHeads, 2), numbers(all_rows().total * width, 3), kHeads,
          width};
}

std::vector<std::int32_t> selected(CpuBackend& b, const IndexOperands& in) {
  const RowLayout rows = selecting_rows(), keys = all_rows();
  const Tensor sets = b.allocate(rows.total, kMembers, DType::i32);
  b.index_topk(rows, b.upload(in.queries, rows.total, in.heads * in.width),
               b.upload(in.head_weights, rows.total, in.heads), keys,
               b.upload(in.keys, keys.total, in.width), sets);
  return b.download_indices(sets);
}

std::vector<std::int32_t> expected_sets(const IndexOperands& in) {
  return best_sets(index_scores(in, selecting_rows(), all_rows(), kPositions), kPositions,
                   kMembers);
}

ModelShape shape_of(std::int64_t width, IndexerMethod method) {
  ModelShape shape{};
  shape.index_head_dim = width;
  shape.indexer = method;
  return shape;
}

TokenSet equal_lengths(std::size_t count, std::int32_t length) {
  TokenSet tokens;
  for (std::size_t s = 0; s < count; ++s) {
    std::vector<std::int32_t>& ids = tokens.sequences.emplace_back();
    for (std::int32_t t = 0; t < length; ++t) ids.push_back((t * t + 31 * t) % 64);
  }
  return tokens;
}

}  // namespace

TEST_CASE("the CPU selects in bf16, FP8 and FP4 what plain loops select") {
  const std::pair<Precision, DeployedAs> types[] = {{Precision::bf16, DeployedAs::bf16},
                                                    {Precision::fp8, DeployedAs::fp8},
                                                    {Precision::fp4, DeployedAs::fp4}};
  for (const std::int64_t width : {32, 128}) {
    const IndexOperands in = random_operands(width);
    const auto exact = expected_sets(in);
    for (const auto& [type, deployed] : types) {
      INFO(name_of(type) << ", " << width);
      CpuBackend one(1, Precision::fp32, type), three(3, Precision::fp32, type);
      const auto sets = selected(one, in);
      CHECK(sets == expected_sets(as_deployed(in, deployed)));
      CHECK(sets != exact);
      CHECK(selected(three, in) == sets);
    }
  }
}

TEST_CASE(
    "in any type of the indexer a batch equals each pattern by itself, in waves and threads") {
  const TokenSet tokens =
      tokens_of(SafetensorsFile(golden("deepseek_v4_tiny") / "golden_full.safetensors"));
  const std::vector<Pattern> patterns = {Pattern::parse("FFFF"), Pattern::parse("FSSF"),
                                         Pattern::parse("FSSS")};
  const auto session = [](int threads, Precision type) {
    return Session<>(golden("deepseek_v4_tiny"), std::nullopt, Placement::stream, threads,
                     Precision::fp32, type);
  };
  Session<> fp32 = session(2, Precision::fp32);
  const auto exact = fp32.evaluator(tokens).losses(patterns);
  for (const Precision type : {Precision::bf16, Precision::fp8, Precision::fp4}) {
    INFO(name_of(type));
    Session<> two = session(2, type), three = session(3, type);
    SweepEvaluator evaluator = two.evaluator(tokens);
    const auto batch = evaluator.losses(patterns);
    for (std::size_t p = 0; p < patterns.size(); ++p) {
      CHECK(evaluator.losses(std::span(&patterns[p], 1)).front() == batch[p]);
      if (type != Precision::bf16) CHECK(batch[p] != exact[p]);
      for (std::size_t s = 0; s < tokens.sequences.size(); ++s) {
        CHECK(std::abs(batch[p][s] - exact[p][s]) < 0.1);
      }
    }
    CHECK(two.evaluator(tokens, {.memory_bytes = 1}).losses(patterns) == batch);
    CHECK(three.evaluator(tokens).losses(patterns) == batch);
  }
}

TEST_CASE("what an indexer of another type cannot be is refused, and its device has another name") {
  const CpuBackend fp4(1, Precision::fp32, Precision::fp4),
      bf16(1, Precision::fp32, Precision::bf16);
  CHECK_NOTHROW(fp4.check(shape_of(128, {})));
  CHECK_THROWS_AS(fp4.check(shape_of(48, {})), UsageError);
  CHECK_NOTHROW(bf16.check(shape_of(48, {})));
  CHECK_THROWS_AS(bf16.check(shape_of(128, Hisa{8, 4})), UsageError);
  CHECK_THAT(fp4.name(), Contains(" indexer fp4"));
  CHECK(CpuBackend(1).name().find("indexer") == std::string::npos);
}

TEST_CASE("what a sweep holds stays within its plan with an indexer of any type") {
  for (const char* model : {"deepseek_v32_tiny", "deepseek_v4_tiny"}) {
    // Several parts of 1,024 queries that are rounded at a time, or keys of many sequences.
    for (const TokenSet& tokens : {equal_lengths(1, 2300), equal_lengths(12, 80)}) {
      for (const Precision type : {Precision::bf16, Precision::fp8, Precision::fp4}) {
        Session<> session(golden(model), std::nullopt, Placement::stream, 1, Precision::fp32, type);
        const Pattern baseline = session.model.baseline();
        // The smaller one first, because a peak remains.
        for (const std::int64_t bytes : {std::int64_t{1}, std::int64_t{4} << 30}) {
          INFO(model << " in " << name_of(type) << ", " << tokens.longest() << " tokens, "
                     << bytes);
          SweepEvaluator evaluator = session.evaluator(tokens, {.memory_bytes = bytes});
          evaluator.losses(std::span(&baseline, 1));
          CHECK(session.backend.memory_use().peak_total <=
                evaluator.planner().plan(1).total() + session.weights.bytes());
        }
      }
    }
  }
}

TEST_CASE("rounding for many sequences takes no more than plans have for the longest one") {
  constexpr std::int64_t kWidth = 128;
  RowLayout rows, keys;
  for (int s = 0; s < 20; ++s) {
    rows.append(kPositions - kMembers, kMembers);
    keys.append(kPositions, 0);
  }
  ModelShape shape = shape_of(kWidth, {});
  shape.index_heads = kHeads;
  shape.index_topk = kMembers;
  for (const Precision type : {Precision::bf16, Precision::fp8, Precision::fp4}) {
    INFO(name_of(type));
    CpuBackend b(1, Precision::fp32, type);
    const auto tensor = [&](std::int64_t count, std::int64_t cols, unsigned seed) {
      return b.upload(random_floats(static_cast<std::size_t>(count * cols), seed), count, cols);
    };
    const Tensor queries = tensor(rows.total, kHeads * kWidth, 1),
                 weights = tensor(rows.total, kHeads, 2), of_keys = tensor(keys.total, kWidth, 3),
                 sets = b.allocate(rows.total, kMembers, DType::i32);
    const std::int64_t before = b.memory_use().peak_total;
    b.index_topk(rows, queries, weights, keys, of_keys, sets);
    CHECK(b.memory_use().peak_total - before <= b.scratch_bytes(shape, rows.total, kPositions));
  }
}

TEST_CASE("a plan has rounded queries of one part, however long a sequence is") {
  const ModelConfig config = read_config(golden("deepseek_v32_tiny"));
  const CpuBackend exact(1), fp8(1, Precision::fp32, Precision::fp8);
  for (const std::int32_t length : {2'000, 20'000}) {
    const TokenSet tokens = equal_lengths(1, length);
    const auto planned = [&](const CpuBackend& backend) {
      return SweepPlanner(config, backend, tokens, {.memory_bytes = 1}).plan(1).total();
    };
    CHECK(planned(fp8) - planned(exact) ==
          4 * (1024 * config.index_heads + length) * config.index_head_dim);
  }
}
