// SPDX-License-Identifier: Apache-2.0
// The kernels that released models run with, at their widths and with sets of full size: residuals
// in bf16 and FP8 against the general kernels in float32. What happens to one query in a million,
// or with long rows only, small shapes do not show.
#include "backend/cuda/cuda_backend.h"
#include "io/files.h"
#include "io/yaml.h"
#include "kernels/architecture.h"
#include "model/config.h"
#include "model/synthetic_weights.h"
#include "search/sweep_evaluator.h"
#include "support/catch.h"
#include "support/files.h"

#include <cmath>
#include <map>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr std::int64_t kLayers = 3, kVocabulary = 2048;
// Enough for sets that hardly overlap, and for unions at the limit of what is packed.
constexpr std::int64_t kTokens = 6000;

// A released shape with few layers, of which the first has a dense MLP, and few experts.
ModelConfig few_layers_of(const std::string& name) {
  const auto path = std::filesystem::path(INDEXCACHE_SOURCE_DIR) / "configs" / (name + ".yaml");
  Json config = parse_yaml(read_file(path), path.string())["config"];
  config["num_hidden_layers"] = kLayers;
  config["vocab_size"] = kVocabulary;
  config["n_routed_experts"] = 16;
  if (config.contains("first_k_dense_replace")) config["first_k_dense_replace"] = 1;
  if (config.contains("num_hash_layers")) config["num_hash_layers"] = 1;
  if (config.contains("compress_ratios")) config["compress_ratios"] = {4, 128, 4, 0};
  return parse_config(config, path.string());
}

TokenSet some_tokens() {
  TokenSet tokens;
  tokens.sequences.emplace_back();
  for (std::int64_t t = 0; t < kTokens; ++t) {
    tokens.sequences.back().push_back(static_cast<std::int32_t>((t * t + 31 * t) % kVocabulary));
  }
  return tokens;
}

// The residuals after each layer of the rows that select.
class Residuals : public SweepObserver {
 public:
  explicit Residuals(Backend& backend) : backend_(backend) {}

  void layer_done(std::size_t layer, std::span<const std::size_t>, const RowLayout&, const Tensor&,
                  const Tensor& hidden) override {
    const std::vector<float> rows = backend_.download(hidden);
    of_layer[layer].insert(of_layer[layer].end(), rows.begin(), rows.end());
    width = hidden.cols();
  }

  std::map<std::size_t, std::vector<float>> of_layer;
  std::int64_t width = 0;

 private:
  Backend& backend_;
};

Residuals residuals_of(const ModelConfig& config, const CudaOptions& options) {
  CudaBackend backend(options);
  SyntheticWeights weights(config, backend, false);
  const TokenSet tokens = some_tokens();
  SweepEvaluator evaluator(config, weights, backend, tokens,
                           {.memory_bytes = std::int64_t{8} << 30});
  const std::vector<Pattern> patterns = {Pattern::all_full(config.letters())};
  Residuals residuals(backend);
  evaluator.losses({patterns, evaluator.all_sequences()},
                   &residuals);  // throws if one is not finite
  return residuals;
}

// Of vectors: how far one is from the other, relative to its length.
double distance(std::span<const float> one, std::span<const float> other) {
  double square = 0, length = 0;
  for (std::size_t i = 0; i < one.size(); ++i) {
    square += std::pow(one[i] - other[i], 2);
    length += std::pow(other[i], 2);
  }
  return std::sqrt(square / length);
}

}  // namespace

TEST_CASE("GPU kernels at the widths of released models agree with the general ones",
          "[search][widths]") {
  for (const char* name :
       {"dsa-30b", "glm-5", "deepseek-v3.2", "deepseek-v4-flash", "hy4", "axk2-light"}) {
    const ModelConfig config = few_layers_of(name);
    const Residuals exact = residuals_of(config, {});
    const Residuals fast = residuals_of(config, {Precision::bf16, Precision::fp8});
    REQUIRE(fast.of_layer.size() == exact.of_layer.size());
    for (const auto& [layer, rows] : exact.of_layer) {
      INFO(name << ", layer " << layer);
      const std::span<const float> expected(rows), found(fast.of_layer.at(layer));
      REQUIRE(found.size() == expected.size());
      CHECK(distance(found, expected) < 0.05);
      const auto width = static_cast<std::size_t>(exact.width);
      double worst = 0;
      for (std::size_t at = 0; at < rows.size(); at += width) {
        const double of_row = distance(found.subspan(at, width), expected.subspan(at, width));
        worst = of_row <= worst ? worst : of_row;  // NaN is the worst
      }
      CHECK(worst < 0.5);
    }
  }
}

TEST_CASE("GPU FP8 residuals at the widths of released models are finite", "[search][widths]") {
  if (!kernels::has_warpgroups()) return;
  for (const char* name : {"dsa-30b", "glm-5", "deepseek-v3.2", "deepseek-v4-flash"}) {
    INFO(name);
    const Residuals residuals = residuals_of(few_layers_of(name), {Precision::fp8, Precision::fp8});
    for (const auto& [layer, rows] : residuals.of_layer) {
      CHECK(std::ranges::all_of(rows, [](float x) { return std::isfinite(x); }));
    }
  }
}
