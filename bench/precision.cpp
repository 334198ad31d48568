// SPDX-License-Identifier: Apache-2.0
// bench_precision MODEL TOKENS: what bf16 and FP8 (of FP8 checkpoints) change on the GPU. Losses of
// the baseline, the share of queries whose index set differs from the float32 run's, and how much
// the sets overlap, each layer with the residual that its own precision brought it to.
#include "backend/make_cuda_backend.h"
#include "calibration/calibration_file.h"
#include "model/model.h"
#include "model/model_weights.h"
#include "run_bench.h"
#include "search/sweep_evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <vector>

namespace indexcache {
namespace {

// Keeps the index sets of every layer on the host.
class SetRecorder : public SweepObserver {
 public:
  explicit SetRecorder(Backend& backend) : backend_(backend) {}

  void layer_done(std::size_t, std::span<const std::size_t>, const RowLayout&,
                  const Tensor& of_layer, const Tensor&) override {
    layers.push_back(backend_.download_indices(of_layer));
  }

  std::vector<std::vector<std::int32_t>> layers;

 private:
  Backend& backend_;
};

struct Difference {
  double rows = 0;     // share of queries with another set
  double overlap = 0;  // mean |A ∩ B| / k
};

Difference compare(const std::vector<std::int32_t>& a, const std::vector<std::int32_t>& b,
                   std::int64_t k) {
  Difference difference;
  const auto rows = static_cast<std::int64_t>(a.size()) / k;
  std::vector<std::int32_t> common;
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto first = a.begin() + row * k, second = b.begin() + row * k;
    common.clear();
    std::set_intersection(first, first + k, second, second + k, std::back_inserter(common));
    difference.rows += static_cast<std::int64_t>(common.size()) < k ? 1 : 0;
    difference.overlap += static_cast<double>(common.size()) / static_cast<double>(k);
  }
  difference.rows /= static_cast<double>(rows);
  difference.overlap /= static_cast<double>(rows);
  return difference;
}

struct Result {
  double loss;
  std::vector<std::vector<std::int32_t>> sets;
};

Result run(const Model& model, const TokenSet& tokens, const CudaOptions& options) {
  const auto backend = make_cuda_backend(options);
  ModelWeights weights(model.config, model.checkpoint, model.has_indexer, *backend,
                       Placement::resident);
  SweepEvaluator evaluator(
      model.config, weights, *backend, tokens,
      {.memory_bytes = backend->memory_bytes() - weights.bytes(), .enforce = true});
  SetRecorder recorder(*backend);
  const Pattern baseline = model.baseline();
  const auto losses =
      evaluator.losses(LossRequest{std::span(&baseline, 1), evaluator.all_sequences()}, &recorder);
  return {evaluator.mean(losses.front()), std::move(recorder.layers)};
}

int bench(const char* folder, const char* path) {
  const Model model = open_model(folder);
  const TokenSet tokens = read_tokens(path);
  const Result exact = run(model, tokens, {});
  fmt::print("{} tokens, loss {:.6f} in fp32\n", tokens.tokens(), exact.loss);
  fmt::print("  {:<24} {:>12} {:>22} {:>10} {:>10}\n", "precision / indexer", "loss - fp32",
             "rows with a different set", "overlap", "worst");
  std::vector<CudaOptions> kinds = {{Precision::fp32, Precision::bf16},
                                    {Precision::fp32, Precision::fp8},
                                    {Precision::bf16, Precision::fp32},
                                    {Precision::bf16, Precision::bf16},
                                    {Precision::bf16, Precision::fp8}};
  if (model.has_fp8) {
    kinds.push_back({Precision::fp8, Precision::bf16});
    kinds.push_back({Precision::fp8, Precision::fp8});
  }
  for (const CudaOptions& kind : kinds) {
    const Result result = run(model, tokens, kind);
    Difference mean;
    double worst = 1;
    for (std::size_t layer = 0; layer < exact.sets.size(); ++layer) {
      const Difference here =
          compare(exact.sets[layer], result.sets[layer], model.config.index_topk);
      mean.rows += here.rows / static_cast<double>(exact.sets.size());
      mean.overlap += here.overlap / static_cast<double>(exact.sets.size());
      worst = std::min(worst, here.overlap);
    }
    fmt::print("  {:<24} {:>+12.6f} {:>21.1f}% {:>10.4f} {:>10.4f}\n",
               fmt::format("{} / {}", name_of(kind.compute), name_of(kind.indexer)),
               result.loss - exact.loss, 100 * mean.rows, mean.overlap, worst);
  }
  return 0;
}

}  // namespace
}  // namespace indexcache

int main(int argc, char** argv) {
  return indexcache::run_bench(argc, argv, "bench_precision MODEL TOKENS", indexcache::bench);
}
