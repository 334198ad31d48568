// SPDX-License-Identifier: Apache-2.0
#include "search/costs.h"

#include "model/sizes.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>

namespace indexcache {
namespace {

// Operations per second of the parts of a layer, and bytes per second: keys that attention gathers,
// and the ways of weights.
struct Rates {
  double products, attention, indexer;
  double gather;
  double link, disk;
};

// docs/performance.md: one H200, shapes of released models; products of fp32 without TF32.
constexpr Rates kGpuBf16{650e12, 450e12, 800e12, 5.7e12, 54e9, 2e9};
constexpr Rates kGpuFp8{850e12, 450e12, 800e12, 5.7e12, 54e9, 2e9};
constexpr Rates kGpuFp32{40e12, 30e12, 40e12, 5.7e12, 54e9, 2e9};
// A core of a server with AVX-512: what dsa-mini's search reaches.
constexpr Rates kCpuCore{45e9, 12e9, 20e9, 1e12, 4e9, 1e9};

Rates rates_of(const Device& backend, int threads) {
  if (backend.is_gpu()) {
    if (backend.keeps_fp8()) return kGpuFp8;
    return backend.activation() == DType::bf16 ? kGpuBf16 : kGpuFp32;
  }
  const auto cores = static_cast<double>(threads);
  return {kCpuCore.products * cores,
          kCpuCore.attention * cores,
          kCpuCore.indexer * cores,
          kCpuCore.gather,
          kCpuCore.link,
          kCpuCore.disk};
}

// Rows and (query, key) pairs per token of the set: before the first position that selects, and
// from there on.
struct Shares {
  double prefix_rows = 0, tail_rows = 0, prefix_pairs = 0, indexed_pairs = 0;
};

Shares shares_of(const ModelConfig& config, std::span<const std::int64_t> lengths) {
  Shares shares;
  const auto cut = static_cast<double>(config.first_selecting_position());
  double total = 0;
  for (const std::int64_t tokens : lengths) {
    const auto length = static_cast<double>(tokens);
    const double prefix = std::min(length, cut), tail = length - prefix;
    shares.prefix_rows += prefix;
    shares.tail_rows += tail;
    shares.prefix_pairs += prefix * prefix / 2;
    shares.indexed_pairs += scored_pairs(config.indexer, length - tail, length);
    total += length;
  }
  for (double* share :
       {&shares.prefix_rows, &shares.tail_rows, &shares.prefix_pairs, &shares.indexed_pairs}) {
    *share /= total;
  }
  return shares;
}

// The first layer of a kind, which speaks for the others; nullopt if there is none.
std::optional<std::int64_t> layer_of_kind(const ModelConfig& config, std::size_t kind) {
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    if (config.kind_of(layer) == kind) return layer;
  }
  return std::nullopt;
}

// Seconds of one row at a layer of a kind, without what depends on the keys; 0 if there is none.
double row_seconds(const ModelConfig& config, std::size_t kind, const Rates& rates) {
  const std::optional<std::int64_t> layer = layer_of_kind(config, kind);
  return layer ? trunk_row_operations(config, *layer) / rates.products : 0;
}

// Keys that attention reads for each that the indexer selects or could: those of a window as well,
// and candidates that stand for several positions.
struct KeyShares {
  double selected = 1;    // keys of a query that selects
  double candidates = 1;  // candidates per position
};

KeyShares key_shares(const ModelConfig& config) {
  if (!config.compressed) return {};
  const auto topk = static_cast<double>(config.index_topk);
  return {1 + static_cast<double>(config.compressed->window) / topk,
          1.0 / static_cast<double>(config.positions_per_candidate())};
}

// With few heads, gathering the key takes longer than what is computed with it.
double pair_seconds(const ModelConfig& config, const Rates& rates) {
  const double computing = attention_pair_operations(config) / rates.attention;
  if (config.dense) return computing;
  const auto key_bytes = static_cast<double>(2 * config.latent_width());  // of bf16
  return std::max(computing, key_bytes / rates.gather);
}

// What a visit takes per token of the set.
std::array<std::array<double, kVisits>, 2> visit_seconds(const ModelConfig& config,
                                                         const Shares& shares, const Rates& rates) {
  const auto indexed = static_cast<std::int64_t>(config.selecting_layers().front());
  const KeyShares keys = key_shares(config);
  const double selecting =
      indexer_pair_operations(config) * shares.indexed_pairs * keys.candidates / rates.indexer +
      indexer_row_operations(config, indexed) * shares.tail_rows / rates.products;
  const double attending = pair_seconds(config, rates) * shares.tail_rows * keys.selected *
                           static_cast<double>(config.index_topk);
  std::array<std::array<double, kVisits>, 2> visits{};
  for (std::size_t kind = 0; kind < 2; ++kind) {
    const double row = row_seconds(config, kind, rates);
    auto& visit = visits[kind];
    const auto at = [&](Visit v) -> double& { return visit[static_cast<std::size_t>(v)]; };
    at(Visit::prefix) = row * shares.prefix_rows +
                        pair_seconds(config, rates) * shares.prefix_pairs * keys.candidates;
    at(Visit::shared) = row * shares.tail_rows + attending;
    at(Visit::full) = at(Visit::shared) + selecting;
    at(Visit::fork) = at(Visit::full) + at(Visit::shared);
    const double loss = loss_row_operations(config) / rates.products;
    at(Visit::prefix_loss) = loss * shares.prefix_rows;
    at(Visit::loss) = loss * shares.tail_rows;
  }
  return visits;
}

}  // namespace

double RunTime::total() const {
  return std::accumulate(compute.begin(), compute.end(), once + first_load + streaming);
}

std::string RunTime::dominating() const {
  const auto most = std::ranges::max_element(compute);
  if (once > std::max({*most, streaming, first_load})) return "starting";
  if (streaming > *most && streaming > first_load) return "transferring weights to the device";
  if (first_load > *most) return "reading the weights once";
  return fmt::format("computation ({})",
                     kVisitNames[static_cast<std::size_t>(most - compute.begin())]);
}

RunTime run_time(const Workload& work, bool streams, const Costs& costs,
                 const WeightSizes& weights) {
  RunTime time;
  time.once = costs.once;
  const double load = costs.stream_byte * static_cast<double>(weights.stored);
  for (const CountedSweep& sweep : work.sweeps) {
    double computing = 0;
    for (std::size_t v = 0; v < kVisits; ++v) {
      double seconds = 0;
      for (std::size_t kind = 0; kind < 2; ++kind) {
        seconds += static_cast<double>(sweep.visits.counts[kind][v]) * costs.visit[kind][v];
      }
      seconds *= static_cast<double>(sweep.tokens);
      time.compute[v] += seconds;
      computing += seconds;
    }
    // A pass takes the longer of the two.
    const auto passes = static_cast<double>(sweep.passes);
    if (streams) time.streaming += std::max(passes * load - computing, 0.0);
    if (&sweep == &work.sweeps.front()) {
      const double first = costs.first_byte * static_cast<double>(weights.stored);
      time.first_load = std::max(first - computing, 0.0);
    }
  }
  return time;
}

Costs estimated_costs(const ModelConfig& config, const TokenSet& tokens, const Device& backend,
                      Placement placement, int threads) {
  std::vector<std::int64_t> lengths;
  for (const auto& sequence : tokens.sequences) {
    lengths.push_back(static_cast<std::int64_t>(sequence.size()));
  }
  return estimated_costs(config, lengths, backend, placement, threads);
}

Costs estimated_costs(const ModelConfig& config, std::span<const std::int64_t> lengths,
                      const Device& backend, Placement placement, int threads) {
  const Rates rates = rates_of(backend, threads);
  Costs costs;
  costs.visit = visit_seconds(config, shares_of(config, lengths), rates);
  costs.stream_byte = 1 / (placement == Placement::disk ? rates.disk : rates.link);
  costs.first_byte = 1 / rates.disk;
  costs.once = backend.is_gpu() ? 2 : 0;
  costs.source = backend.is_gpu()
                     ? "estimated from the speed of an H200"
                     : fmt::format("estimated for {} core{}", threads, threads == 1 ? "" : "s");
  costs.uncertainty = backend.is_gpu() ? 1.0 : 2.0;
  return costs;
}

double indexer_share(const ModelConfig& config, const std::vector<bool>& has_indexer,
                     std::int64_t tokens) {
  const auto visits = visit_seconds(config, shares_of(config, std::span(&tokens, 1)), kGpuFp8);
  double indexers = 0, all = 0;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const auto& visit = visits[config.kind_of(layer)];
    const auto at = [&](Visit v) { return visit[static_cast<std::size_t>(v)]; };
    const double own =
        config.is_marked(has_indexer, layer) ? at(Visit::full) - at(Visit::shared) : 0;
    indexers += own;
    all += at(Visit::prefix) + at(Visit::shared) + own;
  }
  return indexers / all;
}

}  // namespace indexcache
