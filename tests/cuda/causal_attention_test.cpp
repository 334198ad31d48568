// SPDX-License-Identifier: Apache-2.0
// Dense attention on the GPU: against the CPU backend, the same bits with other neighbors, and
// whole forward passes within their plan.
#include "backend/row_chunks.h"
#include "cuda/gpu.h"
#include "search/sweep_evaluator.h"
#include "support/causal_case.h"
#include "support/files.h"
#include "support/session.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

// DeepSeek-V3.2, GLM-5 and Hy4, A.X-K2, dsa-mini; widths that fill no block of columns; and widths
// that tensor cores do not take.
const std::vector<CausalShape> kShapes = {{3, 128, 64, 128}, {2, 192, 64, 256}, {2, 64, 32, 64},
                                          {4, 32, 32, 64},   {1, 16, 16, 208},  {2, 48, 16, 80},
                                          {3, 20, 4, 12},    {2, 100, 28, 132}, {1, 24, 8, 252}};

// Around the blocks of 64, 80 and 128 keys and of 64 and 128 queries; tails of sequences; an empty
// one.
const std::vector<CausalCase::Queries> kRagged = {{1, 0},   {129, 0}, {0, 0},   {64, 500}, {300, 0},
                                                  {63, 65}, {1, 127}, {1, 128}, {200, 256}};

CausalCase make_case(const Gpu& gpu, const CausalShape& shape, bool sinks) {
  return {shape, kRagged, sinks, [&](std::vector<float> numbers) {
            return gpu.bf16 ? to_bf16(std::move(numbers)) : numbers;
          }};
}

void check_shape(Precision precision, const CausalShape& shape, bool sinks) {
  INFO(name_of(precision) << ", " << shape.heads << " heads of " << shape.nope << " + "
                          << shape.rope << ", values of " << shape.value << ", sinks " << sinks);
  Gpu gpu(precision);
  CpuBackend cpu;
  CausalCase c = make_case(gpu, shape, sinks);
  const std::vector<float> all = c.attend(gpu.backend, c.rows);
  CHECK_CLOSE(all, c.attend(cpu, c.rows), gpu.tolerance(1e-5));
  for (std::size_t s = 0; s < c.rows.segments.size(); ++s) {
    if (c.rows.segments[s].rows > 0) CHECK(c.attend_alone(gpu.backend, s) == c.rows_of(all, s));
  }
  std::vector<float> by_chunks;
  for (const RowChunk& chunk : row_chunks(c.rows, kChunkGrain)) {
    const std::vector<float> part = c.attend(gpu.backend, chunk.rows, chunk.first_row);
    by_chunks.insert(by_chunks.end(), part.begin(), part.end());
  }
  CHECK(by_chunks == all);
  // Any scale is allowed.
  for (const float scale : {0.0f, -c.scale}) {
    c.scale = scale;
    CHECK_CLOSE(c.attend(gpu.backend, c.rows), c.attend(cpu, c.rows), gpu.tolerance(1e-5));
  }
}

TokenSet ragged_tokens() {
  TokenSet tokens;
  for (const int length : {700, 2, 33, 270}) {
    tokens.sequences.emplace_back();
    for (int t = 0; t < length; ++t) tokens.sequences.back().push_back((t * t + 31 * t) % 160);
  }
  return tokens;
}

constexpr const char* kFamilies[] = {"deepseek_v32_tiny", "glm_moe_dsa_shared_tiny", "axk2_tiny",
                                     "hy_v4_tiny"};

}  // namespace

TEST_CASE("GPU dense attention equals the CPU's, and a row's bits do not depend on its neighbors",
          "[large]") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const CausalShape& shape : kShapes) {
      for (const bool sinks : {false, true}) check_shape(precision, shape, sinks);
    }
  }
}

TEST_CASE("GPU products that expand keys equal the CPU's, whatever else is multiplied",
          "[cublas]") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const auto& [rank, width, heads] : {std::tuple{512, 128, 16}, {96, 32, 4}, {36, 20, 3}}) {
      INFO(name_of(precision) << ", " << rank << " -> " << heads << " x " << width);
      Gpu gpu(precision);
      RowLayout rows;
      rows.append(1031, 0);
      const std::int64_t cols = rank + 64, out_cols = heads * width;
      const auto x = gpu.random(rows.total, cols, 71), w = gpu.random(heads * rank, width, 72);
      const auto expand = [&](Backend& b, const Tensor& of, const Tensor& weight,
                              const Tensor& out) {
        RowLayout own;
        own.append(of.rows(), 0);
        b.expand_heads(own, of.columns(0, rank), weight, {out, heads, width, width});
      };
      compare_backends(gpu, gpu.tolerance(1e-5), [&](Backend& b, auto put, auto poison) {
        const Tensor out = poison(rows.total, out_cols);
        expand(b, put(x, rows.total, cols), put(w, heads * rank, width), out);
        return out;
      });
      CudaBackend& b = gpu.backend;
      const Tensor all = b.upload_matrix(x, rows.total, cols);
      const Tensor weight = b.upload_matrix(w, heads * rank, width);
      const Tensor out = gpu.poisoned(rows.total, out_cols);
      expand(b, all, weight, out);
      for (const std::int64_t first : {0, 1, 700}) {
        const std::int64_t count = first == 700 ? 331 : 1;
        const Tensor part = gpu.poisoned(count, out_cols);
        expand(b, all.row_range(first, count), weight, part);
        CHECK(b.download(part) == b.download(out.row_range(first, count)));
      }
    }
  }
}

TEST_CASE("GPU dense losses equal the CPU's, with the same bits in a batch and in waves",
          "[search]") {
  const TokenSet tokens = ragged_tokens();
  for (const char* family : kFamilies) {
    Session<> cpu(golden(family));
    cpu.model.config.dense = true;
    const SequenceLosses expected = cpu.evaluator(tokens).losses_of(cpu.model.baseline());
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
      INFO(family << ", " << name_of(precision));
      Session<CudaBackend> gpu(golden(family), std::nullopt, Placement::resident,
                               CudaOptions{precision, precision});
      gpu.model.config.dense = true;
      const Pattern baseline = gpu.model.baseline();
      gpu.backend.check(gpu.model.config.shape());
      SweepEvaluator evaluator = gpu.evaluator(tokens, {.memory_bytes = std::int64_t{1} << 30});
      const SequenceLosses losses = evaluator.losses_of(baseline);
      const std::int64_t planned = evaluator.planner().plan(1).total();
      const std::int64_t weights = gpu.weights.bytes();
      INFO("planned " << planned << " beside " << weights << " of weights");
      CHECK(gpu.backend.memory_use().peak_total <= planned + weights + (weights / 50));
      for (std::size_t s = 0; s < losses.size(); ++s) {
        // Random models, in which a rounding can choose another expert.
        CHECK(losses[s] == Approx(expected[s]).epsilon(precision == Precision::fp32 ? 1e-4 : 3e-2));
        const TokenSet alone{tokens.source, {tokens.sequences[s]}};
        CHECK(gpu.evaluator(alone).losses_of(baseline).front() == losses[s]);
      }
      CHECK(gpu.evaluator(tokens, {.memory_bytes = 1}).losses_of(baseline) == losses);
    }
  }
}
