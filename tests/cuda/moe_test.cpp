// SPDX-License-Identifier: Apache-2.0
// Routing and experts: the GPU against the CPU backend.
#include "cuda/gpu.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

struct Shape {
  std::int64_t experts, used, groups, kept;
};

// Weights of some experts, and a routing that leaves one of them without rows.
struct Case {
  std::int64_t hidden, width;
  std::int64_t experts = 6, used = 2;
  RowLayout rows = ragged_rows();
  float limit = kNoLimit;
  std::vector<std::int32_t> chosen;
  std::vector<float> shares;

  Case(std::int64_t hidden_width, std::int64_t expert_width)
      : hidden(hidden_width), width(expert_width) {
    for (std::int32_t r = 0; r < rows.total; ++r) {
      chosen.insert(chosen.end(), {r % 3, 4});  // experts 3 and 5 get none
      shares.insert(shares.end(), {0.25f, 1.5f});
    }
  }

  Tensor run(const Gpu& gpu, Backend& b) const {
    ExpertWeights weights;
    for (std::uint32_t e = 0; e < experts; ++e) {
      weights.gate_up.push_back(
          b.upload_matrix(gpu.random(2 * width, hidden, 30 + e), 2 * width, hidden));
      weights.down.push_back(b.upload_matrix(gpu.random(hidden, width, 40 + e), hidden, width));
    }
    const Tensor x = b.upload_matrix(gpu.random(rows.total, hidden, 50), rows.total, hidden);
    const Routing routing{b.upload(std::span<const std::int32_t>(chosen), rows.total, used),
                          b.upload(shares, rows.total, used)};
    Tensor out = b.upload(random_floats(count_of(rows.total, hidden), 51), rows.total, hidden);
    b.experts(rows, x, routing, weights, out, limit);
    return out;
  }

  Tensor run_mlp(const Gpu& gpu, Backend& b) const {
    const Tensor x = b.upload_matrix(gpu.random(rows.total, hidden, 50), rows.total, hidden);
    Tensor out = b.upload(random_floats(count_of(rows.total, hidden), 51), rows.total, hidden);
    b.gated_mlp(rows, x, b.upload_matrix(gpu.random(2 * width, hidden, 31), 2 * width, hidden),
                b.upload_matrix(gpu.random(hidden, width, 41), hidden, width), out, limit);
    return out;
  }
};

void check_experts(const Case& c, Precision precision) {
  Gpu gpu(precision);
  CpuBackend cpu;
  INFO(name_of(precision) << " " << c.hidden << " x " << c.width);
  const auto actual = gpu.backend.download(c.run(gpu, gpu.backend));
  CHECK_CLOSE(actual, cpu.download(c.run(gpu, cpu)), gpu.tolerance(1e-5));
  CHECK(gpu.backend.download(c.run(gpu, gpu.backend)) == actual);
}

}  // namespace

TEST_CASE("GPU routing chooses the CPU's experts") {
  Gpu gpu(Precision::fp32);
  CpuBackend cpu;
  const RowLayout rows = ragged_rows();
  for (const Shape& s : {Shape{8, 2, 4, 2},
                         {16, 4, 4, 2},
                         {64, 4, 1, 1},
                         {256, 8, 8, 4},
                         {3, 3, 1, 1},
                         {40, 1, 1, 1}}) {
    INFO(s.experts << " experts, " << s.groups << " groups");
    RouterRule rule{s.groups, s.kept, s.used, s.used != 1, 2.5f};
    if (s.experts == 16) rule.excluded = 0;
    if (s.groups == 1) rule.score = RouterScore::sqrt_softplus;
    auto logits = random_floats(count_of(rows.total, s.experts), 20);
    for (std::size_t i = 0; i < logits.size(); i += 3) logits[i] = 0.5f;  // ties
    auto bias = random_floats(static_cast<std::size_t>(s.experts), 21);
    std::ranges::fill(std::span(bias).first(bias.size() / 2), 0.0f);
    const auto route = [&](Backend& b) {
      return b.route(rows, b.upload(logits, rows.total, s.experts), b.upload(bias, 1, s.experts),
                     rule);
    };
    const Routing expected = route(cpu), actual = route(gpu.backend);
    CHECK(gpu.backend.download_indices(actual.experts) == cpu.download_indices(expected.experts));
    CHECK_CLOSE(gpu.backend.download(actual.weights), cpu.download(expected.weights), 1e-6);
  }
}

TEST_CASE("GPU weights of experts that are chosen already are the CPU's") {
  Gpu gpu(Precision::fp32);
  CpuBackend cpu;
  const RowLayout rows = ragged_rows();
  for (const Shape& s : {Shape{8, 3, 1, 1}, {256, 6, 1, 1}, {32, 32, 1, 1}}) {
    for (const bool normalize : {false, true}) {
      for (const RouterScore score : {RouterScore::sigmoid, RouterScore::sqrt_softplus}) {
        INFO(s.experts << " experts, " << s.used << " of a row");
        RouterRule rule{1, 1, s.used, normalize, 1.5f};
        rule.score = score;
        auto logits = random_floats(count_of(rows.total, s.experts), 22);
        for (float& value : logits) value *= 40;
        std::vector<std::int32_t> chosen;  // in no order
        for (std::int64_t i = 0; i < rows.total * s.used; ++i) {
          chosen.push_back(static_cast<std::int32_t>((i * (s.experts - 1) + i / 3) % s.experts));
        }
        const auto weigh = [&](Backend& b) {
          return b.weigh_experts(
              rows, b.upload(logits, rows.total, s.experts),
              b.upload(std::span<const std::int32_t>(chosen), rows.total, s.used), rule);
        };
        const Routing expected = weigh(cpu), actual = weigh(gpu.backend);
        CHECK(gpu.backend.download_indices(actual.experts) == chosen);
        CHECK_CLOSE(gpu.backend.download(actual.weights), cpu.download(expected.weights), 1e-6);
      }
    }
  }
}

TEST_CASE("GPU small experts, one launch for all, add to the residual") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const auto& [hidden, width] : {std::pair{40, 24}, {256, 48}, {64, 136}, {8, 8}}) {
      check_experts(Case(hidden, width), precision);
    }
  }
}

TEST_CASE("GPU large experts add to the residual") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    // On Hopper in bf16 one launch for all; a product each otherwise, and for widths that no kernel
    // for experts takes.
    for (const auto& [hidden, width] : {std::pair{512, 264}, {1024, 384}, {36, 20}, {44, 13}}) {
      check_experts(Case(hidden, width), precision);
    }
  }
}

TEST_CASE("GPU MLPs clamp gate and up", "[cublas]") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const auto& [hidden, width] : {std::pair{40, 24}, {44, 13}, {512, 264}}) {
      Case clamped(hidden, width);
      clamped.limit = 1.5f;
      check_experts(clamped, precision);
      Gpu gpu(precision);
      CpuBackend cpu;
      const auto actual = gpu.backend.download(clamped.run_mlp(gpu, gpu.backend));
      CHECK_CLOSE(actual, cpu.download(clamped.run_mlp(gpu, cpu)), gpu.tolerance(1e-5));
      CHECK(actual != gpu.backend.download(Case(hidden, width).run_mlp(gpu, gpu.backend)));
    }
  }
}

TEST_CASE("GPU gated MLP adds to the residual", "[cublas]") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    Gpu gpu(precision);
    CpuBackend cpu;
    for (const auto& [hidden, width] : {std::pair{40, 24}, {256, 48}, {512, 264}, {44, 13}}) {
      const Case c(hidden, width);
      INFO(name_of(precision) << " " << hidden << " x " << width);
      CHECK_CLOSE(gpu.backend.download(c.run_mlp(gpu, gpu.backend)),
                  cpu.download(c.run_mlp(gpu, cpu)), gpu.tolerance(1e-5));
    }
  }
}
