// SPDX-License-Identifier: Apache-2.0
// Weights that stay, that are streamed from pinned memory and that are read from disk: the time of
// a sweep, its losses, and the speed of the transfer beside that of a plain pinned copy.
#include "backend/cuda/handle.h"
#include "backend/make_cuda_backend.h"
#include "model/model.h"
#include "model/model_weights.h"
#include "run_bench.h"
#include "search/sweep_evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <string>

namespace indexcache {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// GB/s of one copy after another from pinned memory.
double plain_copy_rate(Backend& backend) {
  constexpr std::int64_t kBytes = std::int64_t{1} << 30;
  const auto host = backend.allocate_host(kBytes);
  const Tensor device = backend.allocate(1, kBytes, DType::u8);
  std::vector<double> seconds;
  for (int i = 0; i < 5; ++i) {
    INDEXCACHE_CUDA(cudaDeviceSynchronize());
    const auto begin = Clock::now();
    INDEXCACHE_CUDA(cudaMemcpy(device.data<void>(), host.get(), kBytes, cudaMemcpyHostToDevice));
    seconds.push_back(seconds_since(begin));
  }
  std::ranges::sort(seconds);
  return static_cast<double>(kBytes) / seconds[2] * 1e-9;
}

TokenSet random_tokens(const ModelConfig& config, std::int64_t length) {
  std::mt19937_64 engine(7);
  TokenSet tokens{"random tokens", {{}}};
  for (std::int64_t t = 0; t < length; ++t) {
    tokens.sequences[0].push_back(
        static_cast<std::int32_t>(engine() % static_cast<std::uint64_t>(config.vocabulary)));
  }
  return tokens;
}

// As many streams as patterns behind the first letters.
std::vector<Pattern> streams(std::size_t count, std::size_t letters) {
  const std::size_t bits = std::min<std::size_t>(8, letters - 1);
  if (count > std::size_t{1} << bits) {
    throw UsageError(
        {.what = fmt::format("{} patterns of {} letters cannot all differ", count, letters),
         .where = "STREAMS",
         .why = "",
         .remedy = fmt::format("at most {}", std::size_t{1} << bits)});
  }
  std::vector<Pattern> patterns;
  for (std::size_t p = 0; p < count; ++p) {
    std::string text(letters, 'F');
    for (std::size_t bit = 0; bit < bits; ++bit) {
      if ((p >> bit & 1) != 0) text[bit + 1] = 'S';
    }
    patterns.push_back(Pattern::parse(text));
  }
  return patterns;
}

struct Timing {
  std::vector<SequenceLosses> losses;
  double sweep;     // seconds, median of three after one that is not counted
  double transfer;  // seconds of a pass over the layers without work on them
};

Timing time_placement(const Model& model, const TokenSet& tokens,
                      const std::vector<Pattern>& patterns, Placement placement) {
  const auto backend = make_cuda_backend({Precision::bf16, Precision::bf16});
  if (placement == Placement::resident) {
    fmt::print("  plain pinned copy: {:.1f} GB/s\n", plain_copy_rate(*backend));
  }
  ModelWeights weights(model.config, model.checkpoint, model.has_indexer, *backend, placement);
  SweepEvaluator evaluator(model.config, weights, *backend, tokens,
                           {.memory_bytes = backend->memory_bytes() - weights.bytes()});
  Timing timing{};
  std::vector<double> seconds;
  for (int i = 0; i < 4; ++i) {
    const auto begin = Clock::now();
    timing.losses = evaluator.losses(patterns);
    if (i > 0) seconds.push_back(seconds_since(begin));
  }
  std::ranges::sort(seconds);
  timing.sweep = seconds[1];
  const auto begin = Clock::now();
  for (std::int64_t layer = 0; layer < model.config.layers; ++layer) weights.layer(layer);
  timing.transfer = seconds_since(begin);
  return timing;
}

int bench(const char* folder, const char* context, const char* streams_text) {
  const Model model = open_model(folder);
  const TokenSet tokens = random_tokens(model.config, std::atol(context));
  const auto patterns =
      streams(static_cast<std::size_t>(std::atol(streams_text)), model.config.letters());
  const WeightSizes sizes =
      weight_sizes(model.config, model.checkpoint, model.has_indexer, {DType::bf16});
  fmt::print("{}: {} tokens, {} streams, {} layers, {:.2f} GiB of them stored\n", model.name,
             context, patterns.size(), model.config.layers,
             static_cast<double>(sizes.stored) / 0x1p30);
  Timing resident{};
  for (const Placement placement : {Placement::resident, Placement::stream, Placement::disk}) {
    const Timing timing = time_placement(model, tokens, patterns, placement);
    if (placement == Placement::resident) resident = timing;
    fmt::print("  {:<8} sweep {:>8.1f} ms, {:.3f} x resident, {}", name_of(placement),
               timing.sweep * 1e3, timing.sweep / resident.sweep,
               timing.losses == resident.losses ? "same losses" : "DIFFERENT LOSSES");
    if (placement != Placement::resident) {
      fmt::print("; a pass without work {:.1f} ms, {:.1f} GB/s", timing.transfer * 1e3,
                 static_cast<double>(sizes.stored) / timing.transfer * 1e-9);
    }
    fmt::print("\n");
  }
  return 0;
}

}  // namespace
}  // namespace indexcache

int main(int argc, char** argv) {
  return indexcache::run_bench(argc, argv, "bench_weights MODEL CONTEXT STREAMS",
                               indexcache::bench);
}
