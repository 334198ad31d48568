// SPDX-License-Identifier: Apache-2.0
// Families whose forward pass differs from DeepSeek-V3.2's: the same bits by themselves, in a
// batch, in waves and from anywhere, in every precision, and memory within the plan.
#include "backend/cuda/cuda_backend.h"
#include "kernels/architecture.h"
#include "search/sweep_evaluator.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/session.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

template <Precision Compute, Precision Indexer>
struct Gpu : CudaBackend {
  Gpu() : CudaBackend({Compute, Indexer}) {}
};

constexpr int kVocabulary = 96;  // the smallest of them

TokenSet ragged_tokens() {
  TokenSet tokens;
  for (int s = 0; s < 3; ++s) {
    tokens.sequences.emplace_back();
    for (int t = 0; t < 70 + 61 * s; ++t) {
      tokens.sequences.back().push_back((t * t + 31 * t + 7 * s) % kVocabulary);
    }
  }
  return tokens;
}

struct Case {
  const char* folder;
  std::vector<std::string> patterns;
};

const std::vector<Case> kFamilies = {
    {"axk2_tiny", {"FFFFFF", "FFFFFS", "FSFSSS", "FSSSSS"}},
    {"hy_v4_tiny", {"FFSSSFS", "FSSSSFS", "FFSSSSS", "FSSSSSS"}},
    {"deepseek_v4_tiny", {"FFFF", "FFFS", "FSFS", "FSSS"}},
    {"deepseek_v4_r128_tiny", {"FF", "FS"}},
    {"deepseek_v4_fp_tiny", {"FF", "FS"}},
};

template <typename BackendType>
void check_bits(const Case& family) {
  Session<BackendType> session(golden(family.folder));
  INFO(family.folder << " on " << session.backend.name());
  const TokenSet tokens = ragged_tokens();
  std::vector<Pattern> patterns;
  for (const std::string& text : family.patterns) patterns.push_back(Pattern::parse(text));
  SweepEvaluator evaluator = session.evaluator(tokens);
  const auto batch = evaluator.losses(patterns);
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    CHECK(evaluator.losses(std::span(&patterns[p], 1)).front() == batch[p]);
  }
  CHECK(session.evaluator(tokens, {.memory_bytes = 1}).losses(patterns) == batch);
  CHECK(batch.front() != batch.back());
  for (const Placement placement : {Placement::stream, Placement::disk}) {
    Session<BackendType> moving(golden(family.folder), std::nullopt, placement);
    CHECK(moving.evaluator(tokens).losses(patterns) == batch);
  }
}

template <typename BackendType>
void check_memory(const Case& family) {
  for (const Objective objective : {Objective::loss, Objective::kl}) {
    Session<BackendType> session(golden(family.folder));
    const TokenSet tokens = ragged_tokens();
    std::vector<Pattern> patterns;
    for (const std::string& text : family.patterns) patterns.push_back(Pattern::parse(text));
    SweepEvaluator evaluator = session.evaluator(tokens, {.memory_bytes = std::int64_t{1} << 30},
                                                 {objective, patterns[0]});
    std::vector<SequenceLosses> losses;
    evaluator.measure_fidelity({patterns, evaluator.all_sequences()}, losses);
    const std::int64_t planned = evaluator.planner().plan(patterns.size()).total();
    const std::int64_t weights = session.weights.bytes();
    INFO(family.folder << ": planned " << planned << " beside " << weights << " of weights");
    CHECK(session.backend.memory_use().peak_total <= planned + weights + (weights / 50));
  }
}

}  // namespace

TEST_CASE("GPU losses of other families have the same bits alone, in a batch and in waves",
          "[search]") {
  for (const Case& family : kFamilies) {
    check_bits<CudaBackend>(family);
    check_bits<Gpu<Precision::bf16, Precision::bf16>>(family);
    check_bits<Gpu<Precision::bf16, Precision::fp8>>(family);
  }
}

// Experts are FP4, and everything else is FP8.
TEST_CASE("GPU FP8 losses of DeepSeek-V4's storage have the same bits alone and in waves",
          "[search][fp8]") {
  if (!kernels::has_warpgroups()) return;
  check_bits<Gpu<Precision::fp8, Precision::fp8>>({"deepseek_v4_fp_tiny", {"FF", "FS"}});
}

TEST_CASE("GPU sweeps of other families stay within the plan", "[search]") {
  for (const Case& family : kFamilies) {
    check_memory<CudaBackend>(family);
    check_memory<Gpu<Precision::bf16, Precision::fp8>>(family);
  }
}
