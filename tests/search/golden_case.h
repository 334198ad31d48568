// SPDX-License-Identifier: Apache-2.0
// Every golden case of transformers on one engine: hidden states, router choices, index sets,
// logits and losses.
#pragma once

#include "io/files.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "support/compare.h"
#include "support/files.h"
#include "support/session.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <span>

namespace indexcache::test {

inline constexpr double kTolerance = 1e-4;  // of the tensor's largest element
// Of latent norms in transformers; a case that differs states it.
inline constexpr double kLatentEpsilon = 1e-6;

// Tensors of one row per position, put together from the parts that a sweep computes: rows t < k
// and the others, in chunks or not. Every row must be computed, and only once.
template <typename T>
class ByPosition {
 public:
  void put(const RowLayout& rows, const std::vector<T>& values, std::int64_t positions) {
    if (rows.total == 0) return;
    const std::size_t width = values.size() / static_cast<std::size_t>(rows.total);
    const std::size_t all = rows.segments.size() * static_cast<std::size_t>(positions);
    values_.resize(all * width);
    written_.resize(all);
    for (std::size_t s = 0; s < rows.segments.size(); ++s) {
      const Segment& segment = rows.segments[s];
      const std::int64_t to = static_cast<std::int64_t>(s) * positions + segment.first_position;
      std::copy_n(values.begin() + segment.first_row * static_cast<std::int64_t>(width),
                  segment.rows * static_cast<std::int64_t>(width),
                  values_.begin() + to * static_cast<std::int64_t>(width));
      for (std::int64_t row = to; row < to + segment.rows; ++row) {
        ++written_[static_cast<std::size_t>(row)];
      }
    }
  }

  const std::vector<T>& values() const {
    CHECK(std::ranges::all_of(written_, [](int times) { return times == 1; }));
    return values_;
  }

 private:
  std::vector<T> values_;
  std::vector<int> written_;  // how often each row was computed
};

// Scores of an indexer as transformers states them, of all rows: [rows, positions], 0 where a row
// sees nothing.
inline std::vector<float> index_scores(Backend& backend, const RowLayout& rows,
                                       const Tensor& queries, const Tensor& head_weights,
                                       const RowLayout& key_rows, const Tensor& keys,
                                       std::int64_t positions) {
  const auto q = backend.download(queries), w = backend.download(head_weights),
             k = backend.download(keys);
  const std::int64_t heads = head_weights.cols(), width = keys.cols();
  const double scale = 1 / std::sqrt(static_cast<double>(heads * width));
  std::vector<float> scores(static_cast<std::size_t>(rows.total * positions), 0.0f);
  for (std::size_t s = 0; s < rows.segments.size(); ++s) {
    const Segment &segment = rows.segments[s], &key_segment = key_rows.segments[s];
    for (std::int64_t i = 0; i < segment.rows; ++i) {
      const std::int64_t row = segment.first_row + i;
      for (std::int64_t u = 0; u < key_segment.candidates(segment.position(i)); ++u) {
        const float* key = k.data() + (key_segment.first_row + u) * width;
        double score = 0;
        for (std::int64_t h = 0; h < heads; ++h) {
          const float* query = q.data() + (row * heads + h) * width;
          double dot = 0;
          for (std::int64_t d = 0; d < width; ++d) dot += double{query[d]} * key[d];
          score += w[static_cast<std::size_t>(row * heads + h)] * std::max(dot, 0.0);
        }
        scores[static_cast<std::size_t>(row * positions + u)] = static_cast<float>(scale * score);
      }
    }
  }
  return scores;
}

// A backend that keeps the routings and the scores that it computed, by layer. An operation does
// not know its layer, so NamingWeights says which one a sweep has come to.
template <typename Engine>
class RecordingBackend : public Engine {
 public:
  Routing route(const RowLayout& rows, const Tensor& logits, const Tensor& bias,
                const RouterRule& rule) override {
    Routing routing = Engine::route(rows, logits, bias, rule);
    REQUIRE(layer.has_value());
    experts[*layer].put(rows, this->download_indices(routing.experts), positions);
    weights[*layer].put(rows, this->download(routing.weights), positions);
    return routing;
  }

  void index_topk(const RowLayout& rows, const Tensor& queries, const Tensor& head_weights,
                  const RowLayout& key_rows, const Tensor& keys, const Tensor& sets) override {
    Engine::index_topk(rows, queries, head_weights, key_rows, keys, sets);
    REQUIRE(layer.has_value());
    REQUIRE_FALSE(scores.contains(*layer));  // all rows at once
    scores[*layer] = index_scores(*this, rows, queries, head_weights, key_rows, keys, positions);
  }

  std::int64_t positions = 0;
  std::optional<std::size_t> layer;
  std::map<std::size_t, std::vector<float>> scores;  // of the rows that select
  std::map<std::size_t, ByPosition<std::int32_t>> experts;
  std::map<std::size_t, ByPosition<float>> weights;
};

// The weights of a sweep, which computes a layer only with that layer's weights: whatever its order
// or chunks, the layer asked for last is the one being computed.
template <typename Engine>
class NamingWeights : public WeightSource {
 public:
  NamingWeights(WeightSource& weights, RecordingBackend<Engine>& backend)
      : weights_(weights), backend_(backend) {
    outer_ = weights.outer();
  }

  const LayerWeights& layer(std::int64_t layer) override {
    backend_.layer = static_cast<std::size_t>(layer);
    return weights_.layer(layer);
  }

 private:
  WeightSource& weights_;
  RecordingBackend<Engine>& backend_;
};

class RecordingObserver : public SweepObserver {
 public:
  RecordingObserver(Backend& backend, std::int64_t positions)
      : backend_(backend), positions_(positions) {}

  void layer_done(std::size_t layer, std::span<const std::size_t>, const RowLayout& rows,
                  const Tensor& sets, const Tensor& residual) override {
    hidden[layer].put(rows, backend_.download(residual), positions_);
    selected[layer] = backend_.download_indices(sets);
  }
  void prefix_rows_done(std::size_t layer, const RowLayout& rows, const Tensor& residual) override {
    hidden[layer].put(rows, backend_.download(residual), positions_);
  }

  std::map<std::size_t, ByPosition<float>> hidden;
  std::map<std::size_t, std::vector<std::int32_t>> selected;

 private:
  Backend& backend_;
  std::int64_t positions_;
};

template <typename T>
std::vector<T> values_of(const SafetensorsFile& file, const std::string& name) {
  const RawTensor& tensor = file.tensors().at(name);
  std::vector<T> values(static_cast<std::size_t>(tensor.elements()));
  file.read(tensor, 0, std::as_writable_bytes(std::span(values)));
  return values;
}

// Golden sets of the rows that drop something, each ascending.
inline std::vector<std::int32_t> tail_sets(const SafetensorsFile& file, const std::string& name,
                                           std::int64_t positions, std::int64_t k) {
  const auto all = values_of<std::int32_t>(file, name);
  std::vector<std::int32_t> sets;
  for (std::size_t row = 0; row * static_cast<std::size_t>(k) < all.size(); ++row) {
    if (static_cast<std::int64_t>(row) % positions < k) continue;
    const auto begin = all.begin() + static_cast<std::int64_t>(row) * k;
    std::vector<std::int32_t> set(begin, begin + k);
    std::ranges::sort(set);
    sets.insert(sets.end(), set.begin(), set.end());
  }
  return sets;
}

// Golden scores of those rows, 0 where a row sees nothing.
inline std::vector<float> tail_scores(const SafetensorsFile& file, const std::string& name,
                                      std::int64_t positions, std::int64_t k) {
  const auto all = values_of<float>(file, name);
  std::vector<float> scores;
  for (std::size_t row = 0; row * static_cast<std::size_t>(positions) < all.size(); ++row) {
    const std::int64_t position = static_cast<std::int64_t>(row) % positions;
    if (position < k) continue;
    for (std::int64_t u = 0; u < positions; ++u) {
      const auto at = row * static_cast<std::size_t>(positions) + static_cast<std::size_t>(u);
      scores.push_back(u <= position ? all[at] : 0.0f);
    }
  }
  return scores;
}

inline Pattern pattern_of(const std::string& types) {
  std::string text;
  for (std::size_t at = 0; at < types.size(); at = types.find(',', at) + 1) {
    text += types[at] == 'f' ? 'F' : 'S';
    if (types.find(',', at) == std::string::npos) break;
  }
  return Pattern::parse(text);
}

inline TokenSet tokens_of(const SafetensorsFile& file) {
  const auto& shape = file.tensors().at("input_ids").shape;
  const auto ids = values_of<std::int64_t>(file, "input_ids");
  TokenSet set{"golden", {}};
  for (std::int64_t s = 0; s < shape[0]; ++s) {
    set.sequences.emplace_back(ids.begin() + s * shape[1], ids.begin() + (s + 1) * shape[1]);
  }
  return set;
}

template <typename Engine>
void check_layers(const SafetensorsFile& file, const RecordingObserver& seen,
                  const RecordingBackend<Engine>& backend, const ModelConfig& config,
                  std::int64_t positions) {
  for (std::size_t layer = 0; layer < static_cast<std::size_t>(config.layers); ++layer) {
    const std::string suffix = "." + std::to_string(layer);
    INFO("layer " << layer);
    CHECK_CLOSE(seen.hidden.at(layer).values(), values_of<float>(file, "hidden" + suffix),
                kTolerance);
    CHECK(seen.selected.at(layer) ==
          tail_sets(file, "topk" + suffix, positions, config.index_topk));
    if (file.tensors().contains("scores" + suffix)) {
      CHECK_CLOSE(backend.scores.at(layer),
                  tail_scores(file, "scores" + suffix, positions, config.index_topk), kTolerance);
    }
    REQUIRE(backend.experts.contains(layer) == config.moe_layer[layer]);
    if (!config.moe_layer[layer]) continue;
    CHECK(backend.experts.at(layer).values() ==
          values_of<std::int32_t>(file, "router_idx" + suffix));
    CHECK_CLOSE(backend.weights.at(layer).values(), values_of<float>(file, "router_w" + suffix),
                kTolerance);
  }
}

// Of the residual after the last layer.
template <typename Engine>
std::vector<float> logits_of(Session<RecordingBackend<Engine>>& session,
                             const std::vector<float>& hidden) {
  const ModelConfig& config = session.model.config;
  RowLayout rows;
  rows.append(static_cast<std::int64_t>(hidden.size()) / config.residual_width(), 0);
  Backend& backend = session.backend;
  Tensor x = backend.upload(hidden, rows.total, config.residual_width());
  if (config.streams) {
    const Tensor mixture = backend.allocate(rows.total, config.hidden);
    backend.read_streams(rows, x, *session.weights.outer().head_streams, *config.streams, mixture,
                         Tensor());
    x = mixture;
  }
  backend.rms_norm(rows, x, session.weights.final_norm(), config.rms_norm_eps, x);
  const Tensor logits = backend.allocate(rows.total, config.vocabulary);
  backend.linear(rows, x, session.weights.lm_head(), logits);
  return backend.download(logits);
}

template <typename Engine>
void check_case(const std::filesystem::path& folder, const std::string& run) {
  INFO(folder.filename().string() << " " << run);
  const Json about = parse_json(read_file(folder / (run + ".json")), run);
  const SafetensorsFile file(folder / (run + ".safetensors"));
  const TokenSet tokens = tokens_of(file);
  const auto positions = static_cast<std::int64_t>(tokens.sequences[0].size());
  Session<RecordingBackend<Engine>> session(folder, about.value("mla_norm_eps", kLatentEpsilon));
  session.backend.positions = positions;
  RecordingObserver seen(session.backend, positions);
  const Pattern pattern = pattern_of(about["indexer_types"]);
  NamingWeights<Engine> weights(session.weights, session.backend);
  SweepEvaluator evaluator(session.model.config, weights, session.backend, tokens,
                           {.memory_bytes = std::int64_t{4} << 30});
  const auto losses =
      evaluator.losses(LossRequest{std::span(&pattern, 1), evaluator.all_sequences()}, &seen);

  check_layers(file, seen, session.backend, session.model.config, positions);
  const auto last = static_cast<std::size_t>(session.model.config.layers) - 1;
  CHECK_CLOSE(logits_of(session, seen.hidden.at(last).values()), values_of<float>(file, "logits"),
              kTolerance);
  CHECK(evaluator.mean(losses[0]) == Approx(about["loss"].get<double>()).epsilon(kTolerance));
  const auto nll = values_of<float>(file, "nll");
  for (std::size_t s = 0; s < tokens.sequences.size(); ++s) {
    double sum = 0;
    for (std::int64_t t = 0; t < positions - 1; ++t) {
      sum += nll[s * static_cast<std::size_t>(positions - 1) + static_cast<std::size_t>(t)];
    }
    CHECK(losses[0][s] == Approx(sum / static_cast<double>(positions - 1)).epsilon(kTolerance));
  }
}

// Every family, FP8, patterns, natively shared layers.
template <typename Engine>
void check_golden_cases() {
  std::size_t cases = 0;
  for (const char* name :
       {"deepseek_v32_tiny", "deepseek_v32_fp8_tiny", "glm_moe_dsa_tiny", "glm_moe_dsa_fp8_tiny",
        "glm_moe_dsa_shared_tiny", "axk2_tiny", "hy_v4_tiny"}) {
    for (const auto& entry : std::filesystem::directory_iterator(golden(name))) {
      const std::string stem = entry.path().stem().string();
      if (entry.path().extension() != ".json" || !stem.starts_with("golden_")) continue;
      if (stem == "golden_distillation") continue;  // of gradients (tests/distill)
      check_case<Engine>(golden(name), stem);
      ++cases;
    }
  }
  CHECK(cases == 14);
}

}  // namespace indexcache::test
