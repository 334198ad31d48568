// SPDX-License-Identifier: Apache-2.0
// Every golden case of transformers on one engine: hidden states, router choices, index sets,
// logits and losses.
#pragma once

#include "io/files.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "search/recording_backend.h"
#include "support/compare.h"
#include "support/files.h"
#include "support/session.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <span>

namespace indexcache::test {

inline constexpr double kTolerance = 1e-4;  // of the tensor's largest element
inline constexpr double kCoefficientTolerance = 1e-5;
// Of latent norms in transformers; a case that differs states it.
inline constexpr double kLatentEpsilon = 1e-6;

class RecordingObserver : public SweepObserver {
 public:
  RecordingObserver(Backend& backend, SequenceGrid grid) : backend_(backend), grid_(grid) {}

  void layer_done(std::size_t layer, std::span<const std::size_t>, const RowLayout& rows,
                  const Tensor& sets, const Tensor& residual) override {
    hidden[layer].put(rows, backend_.download(residual), grid_);
    selected[layer] = backend_.download_indices(sets);
  }
  void prefix_rows_done(std::size_t layer, const RowLayout& rows, const Tensor& residual) override {
    hidden[layer].put(rows, backend_.download(residual), grid_);
  }

  std::map<std::size_t, ByPosition<float>> hidden;
  std::map<std::size_t, std::vector<std::int32_t>> selected;

 private:
  Backend& backend_;
  SequenceGrid grid_;
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

// Scores of FP8 indexers depend on roundings: where the operand of one differs in its last bit, a
// score may be another by a little, and a row in a hundred may select another candidate.
inline void check_deployed(const std::vector<float>& scores, const std::vector<float>& expected) {
  CHECK_CLOSE(scores, expected, 2e-2);
  const float largest =
      std::abs(*std::ranges::max_element(expected, {}, [](float x) { return std::abs(x); }));
  std::size_t different = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    different += std::abs(scores[i] - expected[i]) > kTolerance * largest ? 1 : 0;
  }
  CHECK(different * 20 <= scores.size());
}

inline void check_deployed(const std::vector<std::int32_t>& sets,
                           const std::vector<std::int32_t>& expected, std::int64_t k) {
  REQUIRE(sets.size() == expected.size());
  std::size_t different = 0;
  for (std::size_t row = 0; row * static_cast<std::size_t>(k) < sets.size(); ++row) {
    const auto first = static_cast<std::ptrdiff_t>(row) * k;
    different +=
        std::equal(sets.begin() + first, sets.begin() + first + k, expected.begin() + first) ? 0
                                                                                             : 1;
  }
  CHECK(different * 100 <= sets.size() / static_cast<std::size_t>(k));
}

// By how much the k-th best score of each row exceeds the next one.
inline std::vector<float> margins(const std::vector<float>& scores, std::int64_t positions,
                                  std::int64_t k) {
  std::vector<float> margins;
  for (std::size_t row = 0; row * static_cast<std::size_t>(positions) < scores.size(); ++row) {
    const auto begin = scores.begin() + static_cast<std::ptrdiff_t>(row) * positions;
    const std::int64_t candidates = k + 1 + static_cast<std::int64_t>(row) % (positions - k);
    std::vector<float> order(begin, begin + candidates);
    std::ranges::sort(order, std::greater());
    margins.push_back(order[static_cast<std::size_t>(k - 1)] - order[static_cast<std::size_t>(k)]);
  }
  return margins;
}

inline std::vector<float> tail_values(const std::vector<float>& all, std::int64_t positions,
                                      std::int64_t k) {
  std::vector<float> tail;
  for (std::size_t row = 0; row < all.size(); ++row) {
    if (static_cast<std::int64_t>(row) % positions >= k) tail.push_back(all[row]);
  }
  return tail;
}

template <typename Engine>
void check_indexer(const SafetensorsFile& file, const std::string& suffix,
                   const RecordingBackend<Engine>& backend, std::size_t layer,
                   const ModelConfig& config) {
  const std::int64_t positions = backend.grid.positions, k = config.index_topk;
  if (file.tensors().contains("scores" + suffix)) {
    const std::vector<float>& scores = backend.scores.at(layer);
    CHECK_CLOSE(scores, tail_scores(file, "scores" + suffix, positions, config), kTolerance);
  }
  if (file.tensors().contains("margin" + suffix)) {
    const std::vector<float>& scores = backend.scores.at(layer);
    const auto expected = tail_values(values_of<float>(file, "margin" + suffix), positions, k);
    CHECK_CLOSE(margins(scores, positions, k), expected, 1e-3);
  }
  if (file.tensors().contains("scores_fp8" + suffix)) {
    const std::vector<float>& scores = backend.deployed_scores.at(layer);
    check_deployed(scores, tail_scores(file, "scores_fp8" + suffix, positions, config));
    const auto expected = tail_sets(file, "topk_fp8" + suffix, positions, config);
    check_deployed(best_sets(scores, positions, k), expected, k);
  }
  for (const auto& [type, sets] : backend.deployed_sets) {
    INFO(type);
    if (!file.tensors().contains("topk_" + type + suffix)) continue;
    check_deployed(sets.at(layer), tail_sets(file, "topk_" + type + suffix, positions, config), k);
  }
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
void check_layer(const SafetensorsFile& file, const RecordingObserver& seen,
                 const RecordingBackend<Engine>& backend, const ModelConfig& config,
                 std::size_t layer) {
  const std::string suffix = "." + std::to_string(layer);
  INFO("layer " << layer);
  const auto& ids = file.tensors().at("input_ids").shape;
  const auto rows = static_cast<std::size_t>(ids[0] * ids[1]);
  CHECK_CLOSE(every(seen.hidden.at(layer).values(), rows, kept_step(file, rows)),
              values_of<float>(file, "hidden" + suffix), kTolerance);
  if (config.selects(static_cast<std::int64_t>(layer))) {
    CHECK(seen.selected.at(layer) ==
          tail_sets(file, "topk" + suffix, backend.grid.positions, config));
  }
  if (file.tensors().contains("hc_post" + suffix)) {
    check_coefficients(file, suffix, backend.coefficients.at(layer).values(2), *config.streams);
  }
  check_indexer(file, suffix, backend, layer, config);
  for (const auto& [name, values] : backend.sublayers) {
    INFO(name);
    if (!file.tensors().contains(name + suffix)) continue;
    CHECK_CLOSE(values.at(layer).values(), values_of<float>(file, name + suffix), kTolerance);
  }
  REQUIRE(backend.chosen.contains(layer) == config.moe_layer[layer]);
  if (!config.moe_layer[layer]) return;
  CHECK(backend.chosen.at(layer).values() == values_of<std::int32_t>(file, "router_idx" + suffix));
  CHECK_CLOSE(backend.shares.at(layer).values(), values_of<float>(file, "router_w" + suffix),
              kTolerance);
}

// What embed and lm_head read and write.
template <typename Engine>
void check_ends(const SafetensorsFile& file, const RecordingBackend<Engine>& backend) {
  if (!file.tensors().contains("embed")) return;
  std::vector<float> embedded;
  for (const std::int64_t token : values_of<std::int64_t>(file, "input_ids")) {
    const std::vector<float>& row = backend.embedded.at(static_cast<std::int32_t>(token));
    embedded.insert(embedded.end(), row.begin(), row.end());
  }
  CHECK(embedded == values_of<float>(file, "embed"));
  CHECK_CLOSE(backend.head_input.values(), values_of<float>(file, "final_norm"), kTolerance);
}

// Every tensor that a golden file has is compared: its name is one of these.
inline void check_names(const SafetensorsFile& file) {
  const std::set<std::string> compared = {
      "input_ids", "embed",      "hidden",     "attn_in", "attn_out", "mlp_in",   "mlp_out",
      "scores",    "margin",     "scores_fp8", "topk",    "topk_fp8", "topk_fp4", "router_idx",
      "router_w",  "final_norm", "logits",     "nll",     "loss",     "hc_post",  "hc_comb"};
  for (const auto& [name, tensor] : file.tensors()) {
    INFO(name);
    CHECK(compared.contains(name.substr(0, name.find('.'))));
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
void check_case(const std::filesystem::path& folder, const std::string& run,
                const DeployedBackends& deployed) {
  INFO(folder.filename().string() << " " << run);
  const Json about = parse_json(read_file(folder / (run + ".json")), run);
  const SafetensorsFile file(folder / (run + ".safetensors"));
  const TokenSet tokens = tokens_of(file);
  const auto positions = static_cast<std::int64_t>(tokens.sequences[0].size());
  Session<RecordingBackend<Engine>> session(folder, about.value("mla_norm_eps", kLatentEpsilon));
  session.backend.grid = {tokens.sequences.size(), positions};
  session.backend.deployed = deployed;
  RecordingObserver seen(session.backend, session.backend.grid);
  const Pattern pattern = pattern_of(about["indexer_types"]);
  NamingWeights<Engine> weights(session.weights, session.backend);
  SweepEvaluator evaluator(session.model.config, weights, session.backend, tokens,
                           {.memory_bytes = std::int64_t{4} << 30});
  const auto losses =
      evaluator.losses(LossRequest{std::span(&pattern, 1), evaluator.all_sequences()}, &seen);

  const auto layers = static_cast<std::size_t>(session.model.config.layers);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    check_layer(file, seen, session.backend, session.model.config, layer);
  }
  check_ends(file, session.backend);
  check_names(file);
  const std::size_t last = layers - 1;
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

// Every family, FP8, patterns, natively shared layers. `deployed` have an indexer of another type.
template <typename Engine>
void check_golden_cases(const DeployedBackends& deployed = {}) {
  std::size_t cases = 0;
  std::vector<std::string> models = kGoldenModels;
  models.insert(models.end(), {"deepseek_v4_tiny", "deepseek_v4_r128_tiny", "deepseek_v4_fp_tiny"});
  for (const std::string& name : models) {
    for (const auto& entry : std::filesystem::directory_iterator(golden(name))) {
      const std::string stem = entry.path().stem().string();
      if (entry.path().extension() != ".json" || !stem.starts_with("golden_")) continue;
      if (stem == "golden_distillation") continue;  // of gradients (tests/distill)
      check_case<Engine>(golden(name), stem, deployed);
      ++cases;
    }
  }
  CHECK(cases == 19);
}

}  // namespace indexcache::test
