// SPDX-License-Identifier: Apache-2.0
// Whether a mistake in a part of a family's forward pass would show in its goldens: it has to
// change the last layer's residual, an indexer's scores or the coefficients of streams by more than
// the tolerance of the comparison with transformers.
#pragma once

#include "search/golden_case.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace indexcache::test {

using ChangeConfig = std::function<void(ModelConfig&)>;
using ChangeWeights = std::function<void(LayerWeights&)>;

// A mistake, in what the decoder reads or in an engine.
template <typename Engine>
struct Part {
  using ChangeEngine = std::function<void(Engine&)>;

  const char* name;
  ChangeConfig config;
  ChangeWeights weights;
  ChangeEngine engine;

  Part(const char* what, ChangeConfig of_config, ChangeWeights of_weights = nullptr,
       ChangeEngine of_engine = nullptr)
      : name(what),
        config(std::move(of_config)),
        weights(std::move(of_weights)),
        engine(std::move(of_engine)) {}
};

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

// The residual after the last layer, and the scores of the last indexer and the coefficients of the
// last layer's attention if there are some, of a golden's tokens with every indexer that exists.
struct Seen {
  std::vector<float> residual, scores, coefficients;
};

template <typename Engine>
Seen see(const std::string& name, const Part<Engine>& part) {
  const SafetensorsFile file(golden(name) / "golden_full.safetensors");
  const TokenSet tokens = tokens_of(file);
  Session<RecordingBackend<Engine>> session(golden(name), kLatentEpsilon);
  if (part.config) part.config(session.model.config);
  if (part.engine) part.engine(session.backend);
  const auto positions = static_cast<std::int64_t>(tokens.sequences[0].size());
  session.backend.grid = {tokens.sequences.size(), positions};
  RecordingObserver seen(session.backend, session.backend.grid);
  ChangedWeights changed(session.weights, part.weights);
  NamingWeights<Engine> weights(changed, session.backend);
  SweepEvaluator evaluator(session.model.config, weights, session.backend, tokens,
                           {.memory_bytes = std::int64_t{4} << 30});
  const Pattern pattern = session.model.baseline();
  evaluator.losses(LossRequest{std::span(&pattern, 1), evaluator.all_sequences()}, &seen);
  const auto last = static_cast<std::size_t>(session.model.config.layers) - 1;
  const auto& coefficients = session.backend.coefficients;
  return {seen.hidden.at(last).values(), session.backend.scores.rbegin()->second,
          coefficients.empty() ? std::vector<float>() : coefficients.at(last).latest()};
}

// The largest difference, relative to the largest element.
inline float most_different(const std::vector<float>& right, const std::vector<float>& wrong) {
  float largest = 0, most = 0;
  for (std::size_t i = 0; i < right.size(); ++i) {
    largest = std::max(largest, std::abs(right[i]));
    most = std::max(most, std::abs(right[i] - wrong[i]));
  }
  return most / largest;
}

template <typename Engine>
void check_parts(const std::string& name, const std::vector<Part<Engine>>& parts) {
  const Seen right = see<Engine>(name, {"nothing", nullptr});
  for (const Part<Engine>& part : parts) {
    const Seen wrong = see<Engine>(name, part);
    const double residual = most_different(right.residual, wrong.residual);
    const double scores = most_different(right.scores, wrong.scores);
    const double coefficients =
        right.coefficients.empty() ? 0 : most_different(right.coefficients, wrong.coefficients);
    INFO(name << ", " << part.name << ": " << residual << ", scores " << scores << ", coefficients "
              << coefficients);
    const bool shows =
        std::max(residual, scores) > 3 * kTolerance || coefficients > 3 * kCoefficientTolerance;
    CHECK(shows);
  }
}

}  // namespace indexcache::test
