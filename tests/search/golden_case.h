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
#include <tuple>
#include <utility>
#include <vector>

namespace indexcache::test {

inline constexpr double kTolerance = 1e-4;  // of the tensor's largest element
inline constexpr double kCoefficientTolerance = 1e-5;
// Of latent norms in transformers; a case that differs states it.
inline constexpr double kLatentEpsilon = 1e-6;

// Tensors of one row per position, put together from the parts that a sweep computes: rows t < k
// and the others, in chunks or not. Every row must be computed, and as often as is expected.
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

  const std::vector<T>& values(int computed = 1) const {
    CHECK(std::ranges::all_of(written_, [&](int times) { return times == computed; }));
    return values_;
  }

  // What was computed last, however often.
  const std::vector<T>& latest() const { return values_; }

 private:
  std::vector<T> values_;
  std::vector<int> written_;  // how often each row was computed
};

// Scores of an indexer as transformers states them, of all rows of sequences of one length: [rows,
// candidates], 0 where a row sees nothing.
inline std::vector<float> index_scores(Backend& backend, const RowLayout& rows,
                                       const Tensor& queries, const Tensor& head_weights,
                                       const RowLayout& key_rows, const Tensor& keys) {
  const auto q = backend.download(queries), w = backend.download(head_weights),
             k = backend.download(keys);
  const std::int64_t heads = head_weights.cols(), width = keys.cols();
  const std::int64_t columns = key_rows.segments.front().rows;
  const double scale = 1 / std::sqrt(static_cast<double>(heads * width));
  std::vector<float> scores(static_cast<std::size_t>(rows.total * columns), 0.0f);
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
        scores[static_cast<std::size_t>(row * columns + u)] = static_cast<float>(scale * score);
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
    record(rows, routing);
    return routing;
  }

  Routing weigh_experts(const RowLayout& rows, const Tensor& logits, const Tensor& chosen,
                        const RouterRule& rule) override {
    Routing routing = Engine::weigh_experts(rows, logits, chosen, rule);
    record(rows, routing);
    return routing;
  }

  // Those of a layer's attention, which are computed for keys and for queries.
  void read_streams(const RowLayout& rows, const Tensor& streams, const StreamWeights& of,
                    const StreamRule& rule, const Tensor& out, const Tensor& factors) override {
    Engine::read_streams(rows, streams, of, rule, out, factors);
    if (of.mixer.template data<void>() != attention_mixer) return;
    REQUIRE(layer.has_value());
    coefficients[*layer].put(rows, this->download(factors), positions);
  }

  void index_topk(const RowLayout& rows, const Tensor& queries, const Tensor& head_weights,
                  const RowLayout& key_rows, const Tensor& keys, const Tensor& sets) override {
    Engine::index_topk(rows, queries, head_weights, key_rows, keys, sets);
    REQUIRE(layer.has_value());
    REQUIRE_FALSE(scores.contains(*layer));  // all rows at once
    scores[*layer] = index_scores(*this, rows, queries, head_weights, key_rows, keys);
  }

  std::int64_t positions = 0;
  std::optional<std::size_t> layer;
  std::map<std::size_t, std::vector<float>> scores;  // of the rows that select
  std::map<std::size_t, ByPosition<std::int32_t>> experts;
  std::map<std::size_t, ByPosition<float>> weights;
  const void* attention_mixer = nullptr;  // of the current layer
  std::map<std::size_t, ByPosition<float>> coefficients;

 private:
  // Experts in ascending order, as goldens have them.
  void record(const RowLayout& rows, const Routing& routing) {
    REQUIRE(layer.has_value());
    auto chosen = this->download_indices(routing.experts);
    auto shares = this->download(routing.weights);
    const auto used = static_cast<std::size_t>(routing.experts.cols());
    for (std::size_t first = 0; first < chosen.size(); first += used) {
      std::vector<std::pair<std::int32_t, float>> row;
      for (std::size_t p = first; p < first + used; ++p) row.emplace_back(chosen[p], shares[p]);
      std::ranges::sort(row);
      for (std::size_t p = 0; p < used; ++p) {
        std::tie(chosen[first + p], shares[first + p]) = row[p];
      }
    }
    experts[*layer].put(rows, chosen, positions);
    weights[*layer].put(rows, shares, positions);
  }
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
    const LayerWeights& weights = weights_.layer(layer);
    const auto& streams = weights.attention_input.streams;
    backend_.attention_mixer = streams ? streams->mixer.template data<void>() : nullptr;
    return weights;
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
                                           std::int64_t positions, const ModelConfig& config) {
  const std::int64_t k = config.index_topk;
  const auto all = values_of<std::int32_t>(file, name);
  std::vector<std::int32_t> sets;
  for (std::size_t row = 0; row * static_cast<std::size_t>(k) < all.size(); ++row) {
    if (static_cast<std::int64_t>(row) % positions < config.first_selecting_position()) continue;
    const auto begin = all.begin() + static_cast<std::int64_t>(row) * k;
    std::vector<std::int32_t> set(begin, begin + k);
    std::ranges::sort(set);
    sets.insert(sets.end(), set.begin(), set.end());
  }
  return sets;
}

// Golden scores of those rows, 0 where a row sees nothing.
inline std::vector<float> tail_scores(const SafetensorsFile& file, const std::string& name,
                                      std::int64_t positions, const ModelConfig& config) {
  const auto all = values_of<float>(file, name);
  const std::int64_t per_key = config.positions_per_candidate();
  const auto columns = static_cast<std::size_t>(positions / per_key);
  std::vector<float> scores;
  for (std::size_t row = 0; row * columns < all.size(); ++row) {
    const std::int64_t position = static_cast<std::int64_t>(row) % positions;
    if (position < config.first_selecting_position()) continue;
    const auto seen = static_cast<std::size_t>(candidates_at(position, per_key));
    for (std::size_t u = 0; u < columns; ++u) {
      scores.push_back(u < seen ? all[row * columns + u] : 0.0f);
    }
  }
  return scores;
}

// Of a list of "full", "shared", and "none" for a layer that does not select.
inline Pattern pattern_of(const std::string& types) {
  std::string text;
  for (std::size_t at = 0; at < types.size(); at = types.find(',', at) + 1) {
    if (types[at] != 'n') text += types[at] == 'f' ? 'F' : 'S';
    if (types.find(',', at) == std::string::npos) break;
  }
  return Pattern::parse(text);
}

// Rows 0, step, 2 * step, … of a tensor of one row per position, of all sequences.
template <typename T>
std::vector<T> every(const std::vector<T>& values, std::size_t rows, std::size_t step) {
  const std::size_t width = values.size() / rows;
  std::vector<T> some;
  for (std::size_t row = 0; row < rows; row += step) {
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(row * width);
    some.insert(some.end(), begin, begin + static_cast<std::ptrdiff_t>(width));
  }
  return some;
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

// Of rows that a golden keeps of its hidden states and logits.
inline std::size_t kept_step(const SafetensorsFile& file, std::size_t rows) {
  const auto& shape = file.tensors().at("logits").shape;
  const auto kept = static_cast<std::size_t>(shape[0] * shape[1]);
  return (rows + kept - 1) / kept;
}

// What attention adds to the streams, and how they are mixed before.
inline void check_coefficients(const SafetensorsFile& file, const std::string& suffix,
                               const std::vector<float>& coefficients, const StreamRule& rule) {
  const auto n = static_cast<std::size_t>(rule.count);
  const auto width = static_cast<std::size_t>(rule.coefficients());
  std::vector<float> factors, matrices;
  for (std::size_t i = 0; i < coefficients.size(); ++i) {
    (i % width < n ? factors : matrices).push_back(coefficients[i]);
  }
  // The order of Sinkhorn's steps is 3e-4 of the largest number, the last round 5e-5; they show
  // nowhere else.
  CHECK_CLOSE(factors, values_of<float>(file, "hc_post" + suffix), kCoefficientTolerance);
  if (!file.tensors().contains("hc_comb" + suffix)) return;
  CHECK_CLOSE(matrices, values_of<float>(file, "hc_comb" + suffix), kCoefficientTolerance);
}

template <typename Engine>
void check_layers(const SafetensorsFile& file, const RecordingObserver& seen,
                  const RecordingBackend<Engine>& backend, const ModelConfig& config,
                  std::int64_t positions) {
  const auto& ids = file.tensors().at("input_ids").shape;
  const auto rows = static_cast<std::size_t>(ids[0] * ids[1]);
  for (std::size_t layer = 0; layer < static_cast<std::size_t>(config.layers); ++layer) {
    const std::string suffix = "." + std::to_string(layer);
    INFO("layer " << layer);
    if (file.tensors().contains("hidden" + suffix)) {
      CHECK_CLOSE(every(seen.hidden.at(layer).values(), rows, kept_step(file, rows)),
                  values_of<float>(file, "hidden" + suffix), kTolerance);
    }
    if (config.selects(static_cast<std::int64_t>(layer))) {
      CHECK(seen.selected.at(layer) == tail_sets(file, "topk" + suffix, positions, config));
    }
    if (file.tensors().contains("hc_post" + suffix)) {
      check_coefficients(file, suffix, backend.coefficients.at(layer).values(2), *config.streams);
    }
    if (file.tensors().contains("scores" + suffix)) {
      CHECK_CLOSE(backend.scores.at(layer), tail_scores(file, "scores" + suffix, positions, config),
                  kTolerance);
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
  const std::size_t rows = tokens.sequences.size() * tokens.sequences[0].size();
  const auto kept = every(seen.hidden.at(last).values(), rows, kept_step(file, rows));
  CHECK_CLOSE(logits_of(session, kept), values_of<float>(file, "logits"), kTolerance);
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
// `compressed`: whether the engine computes attention over compressed keys.
template <typename Engine>
void check_golden_cases(bool compressed) {
  std::size_t cases = 0;
  for (const char* name :
       {"deepseek_v32_tiny", "deepseek_v32_fp8_tiny", "glm_moe_dsa_tiny", "glm_moe_dsa_fp8_tiny",
        "glm_moe_dsa_shared_tiny", "axk2_tiny", "hy_v4_tiny", "deepseek_v4_tiny",
        "deepseek_v4_r128_tiny", "deepseek_v4_fp_tiny"}) {
    if (!compressed && read_config(golden(name)).compressed) continue;
    for (const auto& entry : std::filesystem::directory_iterator(golden(name))) {
      const std::string stem = entry.path().stem().string();
      if (entry.path().extension() != ".json" || !stem.starts_with("golden_")) continue;
      if (stem == "golden_distillation") continue;  // of gradients (tests/distill)
      check_case<Engine>(golden(name), stem);
      ++cases;
    }
  }
  CHECK(cases == (compressed ? 19 : 14));
}

}  // namespace indexcache::test
