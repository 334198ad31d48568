// SPDX-License-Identifier: Apache-2.0
// bench_sweep MODEL CALIBRATION: one greedy step as a prefix-tree sweep against the same candidates
// one by one, alternating, the median of three rounds each.
#include "backend/cpu/cpu_backend.h"
#include "calibration/calibration_file.h"
#include "model/model.h"
#include "model/model_weights.h"
#include "run_bench.h"
#include "search/greedy.h"
#include "search/sweep_evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>

namespace indexcache {
namespace {

constexpr std::size_t kRounds = 3;

template <typename Body>
double seconds(const Body& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::array<double, kRounds> values) {
  std::ranges::sort(values);
  return values[kRounds / 2];
}

void compare(Evaluator& evaluator, const Pattern& base) {
  std::vector<Pattern> candidates;
  for (std::size_t layer : next_candidates(base, Constraints::none(base.layers()), 1)) {
    candidates.push_back(base.with_shared(layer));
  }
  evaluator.losses(std::span(&base, 1));  // warm
  std::array<double, kRounds> together{}, alone{};
  std::vector<SequenceLosses> batch, single(candidates.size());
  for (std::size_t round = 0; round < kRounds; ++round) {
    together[round] = seconds([&] { batch = evaluator.losses(candidates); });
    alone[round] = seconds([&] {
      for (std::size_t c = 0; c < candidates.size(); ++c) {
        single[c] = evaluator.losses(std::span(&candidates[c], 1)).front();
      }
    });
  }
  fmt::print("  {}  {:2} candidates: sweep {:.2f} s, one by one {:.2f} s, {:.2f} x, {}\n",
             base.text(), candidates.size(), median(together), median(alone),
             median(alone) / median(together), batch == single ? "same bits" : "DIFFERENT LOSSES");
}

int bench(const char* model_folder, const char* calibration) {
  const Model model = open_model(model_folder);
  const TokenSet tokens = read_tokens(calibration);
  CpuBackend backend;
  ModelWeights weights(model.config, model.checkpoint, model.has_indexer, backend,
                       Placement::resident);
  SweepEvaluator evaluator(model.config, weights, backend, tokens);
  fmt::print("one greedy step on {} tokens:\n", tokens.tokens());
  compare(evaluator, model.baseline());
  return 0;
}

}  // namespace
}  // namespace indexcache

int main(int argc, char** argv) {
  return indexcache::run_bench(argc, argv, "bench_sweep MODEL CALIBRATION", indexcache::bench);
}
