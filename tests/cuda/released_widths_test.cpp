// SPDX-License-Identifier: Apache-2.0
// The kernels that released models run with, at their widths and with sets of full size. Where sets
// leave little out, residuals in bf16 are compared with those of the general kernels in float32;
// further on, where types choose other tokens, they have to be finite. What happens to one query
// in a million, small shapes do not show.
#include "backend/cuda/cuda_backend.h"
#include "io/files.h"
#include "io/yaml.h"
#include "kernels/architecture.h"
#include "model/config.h"
#include "model/synthetic_weights.h"
#include "search/sweep_evaluator.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/residuals.h"

#include <algorithm>
#include <cmath>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr std::int64_t kLayers = 3, kVocabulary = 2048;
const std::vector<const char*> kShapes = {"dsa-30b",           "glm-5", "deepseek-v3.2",
                                          "deepseek-v4-flash", "hy4",   "axk2-light"};

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

TokenSet tokens_of(std::int64_t count) {
  TokenSet tokens;
  tokens.sequences.emplace_back();
  for (std::int64_t t = 0; t < count; ++t) {
    tokens.sequences.back().push_back(static_cast<std::int32_t>((t * t + 31 * t) % kVocabulary));
  }
  return tokens;
}

// Of the rows that select.
Residuals residuals_of(const ModelConfig& config, const CudaOptions& options, std::int64_t count) {
  CudaBackend backend(options);
  SyntheticWeights weights(config, backend, false);
  const TokenSet tokens = tokens_of(count);
  SweepEvaluator evaluator(config, weights, backend, tokens,
                           {.memory_bytes = std::int64_t{8} << 30});
  const std::vector<Pattern> patterns = {Pattern::all_full(config.letters())};
  Residuals residuals(backend, KeptRows::selecting);
  evaluator.losses({patterns, evaluator.all_sequences()},
                   &residuals);  // throws if one is not finite
  return residuals;
}

}  // namespace

TEST_CASE("GPU kernels at the widths of released models agree with the general ones",
          "[search][widths]") {
  for (const char* name : kShapes) {
    const ModelConfig config = few_layers_of(name);
    const std::int64_t count = config.first_selecting_position() + 80;
    const Residuals exact = residuals_of(config, {}, count);
    const Residuals fast = residuals_of(config, {Precision::bf16, Precision::bf16}, count);
    REQUIRE(fast.of_layer.size() == exact.of_layer.size());
    for (const auto& [layer, rows] : exact.of_layer) {
      INFO(name << ", layer " << layer);
      const std::span<const float> expected(rows), found(fast.of_layer.at(layer));
      // A router that rounds differently sends some rows to other experts; none of a first layer
      // chooses by its input.
      const bool routed = layer > 0;
      CHECK(distance(found, expected) < (routed ? 0.25 : 0.05));
      const auto width = static_cast<std::size_t>(exact.width);
      int far = 0;
      for (std::size_t at = 0; at < rows.size(); at += width) {
        const double of_row = distance(found.subspan(at, width), expected.subspan(at, width));
        if (!(of_row < (routed ? 0.7 : 0.2))) ++far;  // NaN is far
      }
      CHECK(far == 0);
    }
  }
}

// Unions of neighbors' sets reach the limit of what is packed at about 5,000 tokens.
TEST_CASE("GPU residuals of long sequences are finite at the widths of released models",
          "[search][widths]") {
  for (const Precision precision : {Precision::bf16, Precision::fp8}) {
    if (precision == Precision::fp8 && !kernels::has_warpgroups()) continue;
    for (const char* name : kShapes) {
      INFO(name << " in " << name_of(precision));
      const Residuals found = residuals_of(few_layers_of(name), {precision, Precision::fp8}, 6000);
      for (const auto& [layer, rows] : found.of_layer) {
        CHECK(std::ranges::all_of(rows, [](float x) { return std::isfinite(x); }));
      }
    }
  }
}
