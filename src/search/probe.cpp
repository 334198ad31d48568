// SPDX-License-Identifier: Apache-2.0
// Costs measured on the first layers of a model.
#include "search/costs.h"
#include "search/sweep_evaluator.h"

#include <algorithm>

namespace indexcache {
namespace {

// The layers up to the third that selects.
std::int64_t layers_with_three(const ModelConfig& config) {
  const std::vector<std::size_t> selecting = config.selecting_layers();
  return static_cast<std::int64_t>(selecting[std::min<std::size_t>(selecting.size(), 3) - 1]) + 1;
}

// Layers 0 … the second one with experts, and no fewer than three that select.
ModelConfig truncated(const ModelConfig& config) {
  const auto first = std::ranges::find(config.moe_layer, true) - config.moe_layer.begin();
  const std::int64_t wanted = first == config.layers ? 3 : first + 2;
  return with_first_layers(config,
                           std::min(config.layers, std::max(wanted, layers_with_three(config))));
}

// Every kind of visit: streams that stay F, that stay S, and a fork at the first and last layers.
std::vector<Pattern> probe_patterns(std::size_t layers) {
  const std::string full(layers, 'F');
  std::string late = full, shared(layers, 'S');
  late.back() = 'S';
  shared.front() = 'F';
  return {Pattern::parse(full), Pattern::parse(late), Pattern::parse(shared)};
}

struct Tally {
  double seconds = 0;
  int count = 0;
};

// A visit that the first layers do not have, at the rate that it has with the other feed-forward.
void fill_gaps(Costs& costs) {
  const auto full = static_cast<std::size_t>(Visit::full);
  for (std::size_t kind = 0; kind < 2; ++kind) {
    auto& here = costs.visit[kind];
    const auto& other = costs.visit[1 - kind];
    const double ratio = here[full] > 0 && other[full] > 0 ? here[full] / other[full] : 1;
    for (std::size_t v = 0; v <= static_cast<std::size_t>(Visit::fork); ++v) {
      if (here[v] == 0) here[v] = other[v] * ratio;
    }
  }
}

}  // namespace

Costs measured_costs(const Model& model, Backend& backend, Placement placement,
                     const TokenSet& wave, SweepMemory memory) {
  const ModelConfig probe = truncated(model.config);
  ModelWeights weights(probe, model.checkpoint, model.has_indexer, backend, placement);
  SweepEvaluator evaluator(probe, weights, backend, wave, memory);
  const auto patterns = probe_patterns(probe.letters());
  const double slow = backend.measure([&] { evaluator.losses(patterns); });
  const LoadTimes first = weights.load_times();

  std::array<std::array<Tally, kVisits>, 2> tallies{};
  evaluator.set_clock([&](Visit visit, std::size_t layer, double seconds) {
    const auto of_model = static_cast<std::int64_t>(layer);
    const std::size_t kind = of_model < probe.layers ? probe.kind_of(of_model) : 0;
    Tally& tally = tallies[kind][static_cast<std::size_t>(visit)];
    tally.seconds += seconds;
    ++tally.count;
  });
  const double usual = backend.measure([&] { evaluator.losses(patterns); });
  const LoadTimes all = weights.load_times();

  Costs costs;
  costs.once = std::max(slow - usual, 0.0);
  const auto rows = static_cast<double>(wave.tokens());
  for (std::size_t kind = 0; kind < 2; ++kind) {
    for (std::size_t v = 0; v < kVisits; ++v) {
      const Tally& tally = tallies[kind][v];
      // Prefix rows are timed in two parts, keys and the rest.
      const double parts = v == static_cast<std::size_t>(Visit::prefix) ? 2 : 1;
      if (tally.count > 0) costs.visit[kind][v] = parts * tally.seconds / tally.count / rows;
    }
  }
  fill_gaps(costs);
  const auto rate = [](const LoadTimes& times) {
    return times.bytes > 0 ? times.seconds / static_cast<double>(times.bytes) : 0;
  };
  costs.first_byte = rate(first);
  costs.stream_byte = rate({all.bytes - first.bytes, all.seconds - first.seconds});
  costs.source = "measured on the first layers";
  costs.uncertainty = 0.3;
  return costs;
}

}  // namespace indexcache
