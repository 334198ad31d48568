// SPDX-License-Identifier: Apache-2.0
// --precision fp8 on a GPU: operations and a whole model against the CPU backend.
#include "support/fp8_model.h"

#include "cuda/gpu.h"
#include "kernels/architecture.h"
#include "search/fp8_golden.h"
#include "support/fp8.h"
#include "support/session.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

class Fp8Gpu : public CudaBackend {
 public:
  Fp8Gpu() : CudaBackend({Precision::fp8, Precision::fp8}) {}
};

// Weights of experts in FP8, and a routing that leaves some of them without rows.
struct Fp8Experts {
  std::int64_t hidden, width, experts = 6, used = 2;
  RowLayout rows = ragged_rows();
  std::vector<float> x = to_bf16(random_floats(count_of(rows.total, hidden), 50));

  Tensor run(Backend& b, std::int64_t first, std::int64_t count) const {
    ExpertWeights weights;
    for (std::uint32_t e = 0; e < experts; ++e) {
      weights.gate_up.push_back(Fp8Matrix(2 * width, hidden, 30 + e).put(b));
      weights.down.push_back(Fp8Matrix(hidden, width, 40 + e).put(b));
    }
    std::vector<std::int32_t> chosen;
    std::vector<float> shares;
    for (std::int64_t r = first; r < first + count; ++r) {
      chosen.insert(chosen.end(), {static_cast<std::int32_t>(r % 3), 4});
      shares.insert(shares.end(), {0.25f, 1.5f});
    }
    RowLayout part;
    part.append(count, 0);
    const Routing routing{b.upload(std::span<const std::int32_t>(chosen), count, used),
                          b.upload(shares, count, used)};
    const Tensor all = b.upload_matrix(x, rows.total, hidden);
    Tensor out = b.upload(x, rows.total, hidden).row_range(first, count);
    b.experts(part, all.row_range(first, count), routing, weights, out);
    b.gated_mlp(part, all.row_range(first, count), weights.gate_up[1], weights.down[1], out);
    return out;
  }
};

TokenSet random_ids() {
  TokenSet tokens{"random ids", {}};
  std::mt19937 engine(3);
  for (const std::int64_t length : {150, 17, 140, 90}) {
    std::vector<std::int32_t>& ids = tokens.sequences.emplace_back();
    for (std::int64_t t = 0; t < length; ++t) {
      ids.push_back(static_cast<std::int32_t>(engine() % 320));
    }
  }
  return tokens;
}

// Root mean square of the differences, relative to that of `expected`.
double relative_rms(const std::vector<float>& actual, const std::vector<float>& expected) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(double{actual[i]} - double{expected[i]}, 2);
    size += std::pow(double{expected[i]}, 2);
  }
  return std::sqrt(difference / size);
}

}  // namespace

TEST_CASE("GPU weights that stay in FP8 arrive as on the CPU, and NaN is reported", "[fp8]") {
  for (const bool small_slots : {false, true}) {
    Gpu gpu(Precision::fp8);
    CpuBackend cpu(1, Precision::fp8);
    if (small_slots) gpu.backend.limit_memory(1 << 20);
    for (const auto& [rows, cols] : {std::pair{16, 16}, {144, 272}, {1024, 2048}}) {
      const Fp8Matrix matrix(rows, cols, 3);
      CHECK(gpu.backend.download(matrix.put(gpu.backend)) == cpu.download(matrix.put(cpu)));
    }
  }
  Gpu gpu(Precision::fp8);
  Fp8Matrix matrix(144, 272, 3);
  const auto finite = [&] {
    bool is_finite = false;
    matrix.put(gpu.backend, &is_finite);
    return is_finite;
  };
  CHECK(finite());
  const std::uint8_t last = std::exchange(matrix.codes.back(), std::uint8_t{0xff});
  CHECK_FALSE(finite());
  matrix.codes.back() = last;
  CHECK(finite());
  matrix.scales[3] = std::numeric_limits<float>::infinity();
  CHECK_FALSE(finite());
}

TEST_CASE("GPU FP8 products equal the CPU's", "[fp8]") {
  if (!kernels::has_warpgroups()) return;
  Gpu gpu(Precision::fp8);
  CpuBackend cpu(0, Precision::fp8);
  const RowLayout rows = ragged_rows();
  for (const auto& [out, in] : {std::pair{64, 256}, {576, 512}, {144, 160}}) {
    INFO(in << " -> " << out);
    const auto x = to_bf16(random_floats(count_of(rows.total, in), 5));
    const auto residual = random_floats(count_of(rows.total, out), 6);
    const auto run = [&](Backend& b, Store store) {
      const Tensor result = b.upload(residual, rows.total, out);
      b.linear(rows, b.upload_matrix(x, rows.total, in), Fp8Matrix(out, in, 7).put(b), result,
               store);
      return b.download(result);
    };
    for (const Store store : {Store::assign, Store::accumulate}) {
      CHECK_CLOSE(run(gpu.backend, store), run(cpu, store), 1e-3);
    }
  }
}

TEST_CASE("GPU FP8 experts and MLP equal the CPU's, and rows alone", "[fp8]") {
  if (!kernels::has_warpgroups()) return;
  Gpu gpu(Precision::fp8);
  CpuBackend cpu(0, Precision::fp8);
  for (const auto& [hidden, width] : {std::pair{256, 128}, {512, 384}, {272, 256}}) {
    const Fp8Experts c{.hidden = hidden, .width = width};
    INFO(hidden << " x " << width);
    const auto whole = gpu.backend.download(c.run(gpu.backend, 0, c.rows.total));
    // Numbers between the products are bf16, and quantized: a few of a row's move to a neighbor,
    // 6 to 12% of their size away.
    const auto expected = cpu.download(c.run(cpu, 0, c.rows.total));
    CHECK(relative_rms(whole, expected) < 2e-2);
    CHECK_CLOSE(whole, expected, 5e-2);
    for (const auto& [first, count] : {std::pair{0, 1}, {100, 131}, {461, 1}}) {
      CHECK(gpu.backend.download(c.run(gpu.backend, first, count)) ==
            std::vector<float>(whole.begin() + first * hidden,
                               whole.begin() + (first + count) * hidden));
    }
  }
}

TEST_CASE("GPU FP8 losses do not depend on batch, waves or where weights wait", "[fp8][cublas]") {
  if (!kernels::has_warpgroups()) return;
  const Fp8Model files;
  const TokenSet tokens = random_ids();
  const std::vector<Pattern> patterns = {Pattern::parse("FFFF"), Pattern::parse("FSFS"),
                                         Pattern::parse("FSSS")};
  Session<Fp8Gpu> session(files.folder.path());
  const auto expected = session.evaluator(tokens).losses(patterns);
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    CHECK(session.evaluator(tokens).losses(std::span(&patterns[p], 1)).front() == expected[p]);
  }
  CHECK(session.evaluator(tokens, {.memory_bytes = 1}).losses(patterns) == expected);
  SweepEvaluator timed = session.evaluator(tokens);  // the prefix rows by themselves
  timed.set_clock([](Visit, std::size_t, double) {});
  CHECK(timed.losses(patterns) == expected);
  for (const Placement placement : {Placement::stream, Placement::disk}) {
    Session<Fp8Gpu> moving(files.folder.path(), std::nullopt, placement);
    CHECK(moving.evaluator(tokens).losses(patterns) == expected);
    CHECK(moving.evaluator(tokens).losses(patterns) == expected);
  }
}

TEST_CASE("GPU FP8 losses are near the CPU's, within the plan", "[fp8][cublas]") {
  if (!kernels::has_warpgroups()) return;
  // Every position is selected: random indexers choose other sets easily.
  const Fp8Model files({.index_topk = 200});
  const TokenSet tokens = random_ids();
  const std::vector<Pattern> patterns = {Pattern::parse("FFFF")};
  Session<Fp8Gpu> gpu(files.folder.path());
  Session<CpuBackend> cpu(files.folder.path(), std::nullopt, Placement::resident, 0,
                          Precision::fp8);
  SweepEvaluator evaluator = gpu.evaluator(tokens);
  const double loss = evaluator.mean(evaluator.losses(patterns).front());
  CHECK(loss == Approx(evaluator.mean(cpu.evaluator(tokens).losses(patterns).front())).margin(0.1));
  const std::int64_t planned = evaluator.planner().plan(1).total();
  const std::int64_t weights = gpu.weights.bytes();
  INFO("planned " << planned << " beside " << weights << " of weights");
  CHECK(gpu.backend.memory_use().peak_total <= planned + weights + weights / 50);
}

TEST_CASE("GPU FP8 losses of the golden cases stay near those of transformers", "[fp8][cublas]") {
  if (!kernels::has_warpgroups()) return;
  check_fp8_golden_losses<Fp8Gpu>(0.15);
}

TEST_CASE("GPUs before Hopper refuse FP8 products by name", "[fp8]") {
  if (kernels::has_warpgroups()) {
    CHECK_NOTHROW(make_cuda_backend({Precision::fp8, Precision::fp8}));
    return;
  }
  try {
    make_cuda_backend({Precision::fp8, Precision::fp8});
    FAIL("it was not refused");
  } catch (const ResourceError& error) {
    CHECK_THAT(error.describe(), Contains("--precision fp8") && Contains("--precision bf16"));
  }
}
