// SPDX-License-Identifier: Apache-2.0
// Whole forward passes and searches on the GPU: the goldens and the reference trace in float32 with
// the CPU's tolerances; the same bits alone, in a batch, in waves and on every run, in every
// precision.
#include "backend/cuda/cuda_backend.h"
#include "calibration/calibration_file.h"
#include "core/error.h"
#include "search/golden_case.h"
#include "search/reference_case.h"
#include "search/v4_mini_case.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

template <Precision Compute, Precision Indexer>
struct Gpu : CudaBackend {
  Gpu() : CudaBackend({Compute, Indexer}) {}
};

template <typename BackendType>
void check_bits() {
  Session<BackendType> session(data("dsa-mini"));
  const TokenSet tokens = uneven_sequences(1000);
  std::vector<Pattern> patterns;
  for (const char* text : {"FFFFFFFFFFFFFFFF", "FFFFFFFFFFFFFFFS", "FSSSSSSSSSSSSSSS",
                           "FFFSFFFFFFFFFFFF", "FSFSFSFSFSFSFSFS", "FFFSFFFFFFFFFFFF"}) {
    patterns.push_back(Pattern::parse(text));
  }
  SweepEvaluator evaluator = session.evaluator(tokens);
  const auto batch = evaluator.losses(patterns);
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    INFO(session.backend.name() << " " << patterns[p].text());
    CHECK(evaluator.losses(std::span(&patterns[p], 1)).front() == batch[p]);
  }
  CHECK(evaluator.losses(patterns) == batch);
  CHECK(session.evaluator(tokens, {.memory_bytes = 1}).losses(patterns) == batch);
  for (const Placement placement : {Placement::stream, Placement::disk}) {
    Session<BackendType> moving(data("dsa-mini"), std::nullopt, placement);
    CHECK(moving.evaluator(tokens).losses(patterns) == batch);
    CHECK(moving.evaluator(tokens).losses(patterns) == batch);  // a second pass
  }
  CHECK(batch[0][0] != batch[2][0]);
}

// Divergences and fidelity, as losses above.
template <typename BackendType>
void check_comparison_bits() {
  Session<BackendType> session(data("dsa-mini"));
  const TokenSet tokens = uneven_sequences(1000);
  std::vector<Pattern> patterns;
  for (const char* text : {"FFFFFFFFFFFFFFFF", "FSSSSSSSSSSSSSSS", "FSFSSSSSSFFSSSSS"}) {
    patterns.push_back(Pattern::parse(text));
  }
  const SweepGoal goal{Objective::kl, patterns[0]};
  SweepEvaluator evaluator = session.evaluator(tokens, {.memory_bytes = 1 << 30}, goal);
  std::vector<SequenceLosses> batch, again;
  const LossRequest request{patterns, evaluator.all_sequences()};
  const auto fidelity = evaluator.measure_fidelity(request, batch);
  INFO(session.backend.name());
  for (std::size_t s = 0; s < tokens.sequences.size(); ++s) CHECK(batch[0][s] == 0);
  CHECK(evaluator.mean(batch[1]) > evaluator.mean(batch[2]));
  CHECK(fidelity[0]->same_top1 == 1);
  CHECK(fidelity[1]->same_top1 < 1);
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    CHECK(evaluator.losses(std::span(&patterns[p], 1)).front() == batch[p]);
  }
  SweepEvaluator small = session.evaluator(tokens, {.memory_bytes = 1}, goal);
  CHECK(small.measure_fidelity(request, again) == fidelity);
  CHECK(again == batch);
}

}  // namespace

TEST_CASE("GPU golden cases of transformers", "[cublas]") {
  CudaBackend deployed({Precision::fp32, Precision::fp8});
  check_golden_cases<CudaBackend>({{"fp8", &deployed}});
}

TEST_CASE("GPU losses have the same bits alone, in a batch and in waves, fp32", "[search]") {
  check_bits<CudaBackend>();
}

TEST_CASE("GPU losses have the same bits alone, in a batch and in waves, bf16", "[search]") {
  check_bits<Gpu<Precision::bf16, Precision::fp32>>();
  check_bits<Gpu<Precision::bf16, Precision::bf16>>();
}

TEST_CASE("GPU losses have the same bits alone, in a batch and in waves, fp8 indexer", "[search]") {
  check_bits<Gpu<Precision::bf16, Precision::fp8>>();
  check_bits<Gpu<Precision::fp32, Precision::fp8>>();
  check_bits<Gpu<Precision::fp32, Precision::bf16>>();
}

TEST_CASE("GPU comparisons of predictions have the same bits alone, in a batch and in waves",
          "[search]") {
  check_comparison_bits<CudaBackend>();
  check_comparison_bits<Gpu<Precision::bf16, Precision::fp8>>();
}

TEST_CASE("GPU comparisons of predictions stay within the plan", "[search]") {
  const TokenSet tokens = uneven_sequences(1000);
  const std::vector<Pattern> patterns = {Pattern::all_full(16), Pattern::parse("FFSFFFFFFFFFFFFF"),
                                         Pattern::parse("FSSSSSSSSSSSSSSS")};
  for (const Objective objective : {Objective::loss, Objective::kl}) {
    Session<CudaBackend> session(data("dsa-mini"));
    SweepEvaluator evaluator = session.evaluator(tokens, {.memory_bytes = std::int64_t{1} << 30},
                                                 {objective, Pattern::all_full(16)});
    std::vector<SequenceLosses> losses;
    evaluator.measure_fidelity({patterns, evaluator.all_sequences()}, losses);
    const std::int64_t planned = evaluator.planner().plan(patterns.size()).total();
    const std::int64_t weights = session.weights.bytes();
    INFO("planned " << planned << " beside " << weights << " of weights");
    CHECK(session.backend.memory_use().peak_total <= planned + weights + (weights / 50));
  }
}

TEST_CASE("GPU dsa-mini: full loss, overlap and the whole greedy trace of the reference",
          "[search]") {
  check_reference_search<CudaBackend>();
}

TEST_CASE("GPU dsa-mini: held-out losses of greedy and uniform patterns", "[search]") {
  check_held_out_losses<CudaBackend>();
}

TEST_CASE("GPU v4-mini: losses of all patterns are PyTorch's", "[search]") {
  check_v4_mini<CudaBackend>();
}

TEST_CASE("GPU v4-mini: overlaps of its indexers are PyTorch's", "[search]") {
  check_v4_mini_overlap<CudaBackend>();
}

TEST_CASE("GPU overlap where sets of some queries stand for those of all", "[search]") {
  check_overlap_of_some_queries<CudaBackend>();
}

TEST_CASE("GPU memory stays within the plan", "[search]") {
  Session<CudaBackend> session(data("dsa-mini"));
  const TokenSet tokens = uneven_sequences(1000);
  const std::int64_t weights = session.weights.bytes();
  for (const std::int64_t memory : {std::int64_t{1}, std::int64_t{1} << 30}) {
    Session<CudaBackend> fresh(data("dsa-mini"));
    SweepEvaluator evaluator = fresh.evaluator(tokens, {.memory_bytes = memory});
    const std::vector<Pattern> patterns = {Pattern::all_full(16),
                                           Pattern::parse("FFSFFFFFFFFFFFFF"),
                                           Pattern::parse("FSSSSSSSSSSSSSSS")};
    evaluator.losses(patterns);
    const SweepPlan plan = evaluator.planner().plan(patterns.size());
    const MemoryUse use = fresh.backend.memory_use();
    INFO("planned " << plan.total() << " beside " << weights << " of weights");
    CHECK(use.peak_total <= plan.total() + weights + (weights / 50));
    CHECK(use.peak_total > weights);
  }
}

TEST_CASE("GPU sweeps that cannot fit are refused with what would fit") {
  Session<CudaBackend> session(data("dsa-mini"));
  const TokenSet tokens = uneven_sequences(1000);
  const Pattern full = Pattern::all_full(16);
  SweepEvaluator evaluator = session.evaluator(tokens, {.memory_bytes = 1 << 20, .enforce = true});
  try {
    evaluator.losses(std::span(&full, 1));
    FAIL("it was not refused");
  } catch (const ResourceError& error) {
    CHECK_THAT(error.describe(), Contains("does not fit the device's memory") &&
                                     Contains("but the weights leave only") &&
                                     Contains("workspace") &&
                                     Contains("try: a larger --memory-limit"));
  }
}

TEST_CASE("GPU a stored weight that is not finite is refused by name") {
  const TempFolder folder;
  copy_folder(golden("deepseek_v32_tiny"), folder.path());
  auto tensors = read_safetensors(folder / "model.safetensors");
  for (StoredTensor& tensor : tensors) {
    if (tensor.name != "model.layers.3.mlp.experts.5.up_proj.weight") continue;
    const float infinite = std::numeric_limits<float>::infinity();
    std::memcpy(tensor.bytes.data() + 40, &infinite, sizeof infinite);
  }
  write_safetensors(folder / "model.safetensors", tensors);
  Session<CudaBackend> session(folder.path());
  session.weights.layer(2);
  CHECK_THROWS_WITH(session.weights.layer(3), Contains("not finite"));
}
