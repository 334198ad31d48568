// SPDX-License-Identifier: Apache-2.0
// Whatever is different in A.X-K2 and Hy4 changes the last layer's residual of their goldens, or
// the scores of an indexer, by more than the tolerance of the comparison with transformers: a
// mistake in it would be seen.
#include "search/golden_case.h"
#include "support/catch.h"

#include <algorithm>
#include <cmath>
#include <functional>

using namespace indexcache;
using namespace indexcache::test;

namespace {

using ChangeConfig = std::function<void(ModelConfig&)>;
using ChangeWeights = std::function<void(LayerWeights&)>;

// The weights of a checkpoint, changed.
class ChangedWeights : public WeightSource {
 public:
  ChangedWeights(WeightSource& base, const ChangeWeights& change) : base_(base), change_(change) {
    outer_ = base.outer();
  }

  const LayerWeights& layer(std::int64_t layer) override {
    current_ = base_.layer(layer);
    if (change_) change_(current_);
    return current_;
  }

 private:
  WeightSource& base_;
  const ChangeWeights& change_;
  LayerWeights current_;
};

// The residual after the last layer and the scores of the last indexer, of a golden's tokens with
// every indexer that exists.
struct Seen {
  std::vector<float> residual, scores;
};

Seen see(const std::string& name, const ChangeConfig& change_config,
         const ChangeWeights& change_weights) {
  const SafetensorsFile file(golden(name) / "golden_full.safetensors");
  const TokenSet tokens = tokens_of(file);
  Session<RecordingBackend<CpuBackend>> session(golden(name), kLatentEpsilon);
  if (change_config) change_config(session.model.config);
  const auto positions = static_cast<std::int64_t>(tokens.sequences[0].size());
  RecordingObserver seen(session.backend, positions);
  session.backend.positions = positions;
  ChangedWeights changed(session.weights, change_weights);
  NamingWeights<CpuBackend> weights(changed, session.backend);
  SweepEvaluator evaluator(session.model.config, weights, session.backend, tokens,
                           {.memory_bytes = std::int64_t{4} << 30});
  const Pattern pattern = session.model.baseline();
  evaluator.losses(LossRequest{std::span(&pattern, 1), evaluator.all_sequences()}, &seen);
  return {seen.hidden.at(static_cast<std::size_t>(session.model.config.layers) - 1).values(),
          session.backend.scores.rbegin()->second};
}

struct Part {
  const char* name;
  ChangeConfig config;
  ChangeWeights weights = {};
};

// The largest difference, relative to the largest element.
float difference(const std::vector<float>& right, const std::vector<float>& wrong) {
  float largest = 0, most = 0;
  for (std::size_t i = 0; i < right.size(); ++i) {
    largest = std::max(largest, std::abs(right[i]));
    most = std::max(most, std::abs(right[i] - wrong[i]));
  }
  return most / largest;
}

void check_parts(const std::string& name, const std::vector<Part>& parts) {
  const Seen right = see(name, {}, {});
  for (const Part& part : parts) {
    const Seen wrong = see(name, part.config, part.weights);
    const float residual = difference(right.residual, wrong.residual);
    const float scores = difference(right.scores, wrong.scores);
    INFO(name << ", " << part.name << ": " << residual << ", scores " << scores);
    CHECK(std::max(residual, scores) > 3 * kTolerance);
  }
}

}  // namespace

TEST_CASE("a mistake in any part of Hy4 would show in its goldens") {
  check_parts(
      "hy_v4_tiny",
      {{"interleaved rotation of MLA", [](auto& c) { c.mla_rope = RopeLayout::interleaved; }},
       {"interleaved rotation of the indexer",
        [](auto& c) { c.index_rope = RopeLayout::interleaved; }},
       {"rotation of the indexer's first components", [](auto& c) { c.index_rope_last = false; }},
       {"epsilon of the indexer's LayerNorm", [](auto& c) { c.index_norm_eps = 1e-6f; }},
       {"no clamp", [](auto& c) { c.expert_limit = kNoLimit; }},
       {"no output gate", [](auto& c) { c.output_gate = OutputGate::none; }},
       {"no sinks", {}, [](auto& w) { w.sinks = {}; }},
       {"factors without their scale", [](auto& c) { c.streams->factor_scale = 1; }},
       {"epsilon of the coefficients", [](auto& c) { c.streams->eps = 1e-3f; }},
       {"mixture of attention for the MLP",
        {},
        [](auto& w) { w.mlp_input.streams = w.attention_input.streams; }},
       {"norm of the streams", [](auto& c) { c.streams->norm_eps = 1e-6f; }}});
}

TEST_CASE("a mistake in any part of A.X-K2 would show in its goldens") {
  check_parts(
      "axk2_tiny",
      {{"no gate on the norm before attention",
        {},
        [](auto& w) { w.attention_input.gate.reset(); }},
       {"no gate on the norm before the MLP", {}, [](auto& w) { w.mlp_input.gate.reset(); }},
       {"gates of the other norm",
        {},
        [](auto& w) {
          if (w.mlp_input.gate) std::swap(w.mlp_input.gate, w.attention_input.gate);
        }},
       {"interleaved rotation of the indexer",
        [](auto& c) { c.index_rope = RopeLayout::interleaved; }}});
}
