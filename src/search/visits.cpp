// SPDX-License-Identifier: Apache-2.0
#include "search/visits.h"

#include <algorithm>
#include <numeric>

namespace indexcache {

Visit visit_of(std::span<const Pattern> patterns, std::span<const std::size_t> stream,
               std::optional<std::size_t> letter) {
  if (!letter) return Visit::shared;
  bool full = false, shared = false;
  for (const std::size_t p : stream) (patterns[p].is_full(*letter) ? full : shared) = true;
  return !full ? Visit::shared : shared ? Visit::fork : Visit::full;
}

Visits& Visits::operator+=(const Visits& more) {
  for (std::size_t kind = 0; kind < counts.size(); ++kind) {
    for (std::size_t v = 0; v < kVisits; ++v) counts[kind][v] += more.counts[kind][v];
  }
  return *this;
}

std::vector<StreamPart> parts_of(std::span<const Pattern> patterns,
                                 std::span<const std::size_t> stream,
                                 std::optional<std::size_t> letter,
                                 const SegmentIndexers* indexers) {
  std::vector<StreamPart> parts = {{{}, nullptr}};
  for (const std::size_t p : stream) {
    const IndexerWeights* trained =
        indexers && letter ? indexers->of(patterns[p], *letter) : nullptr;
    const auto found = std::ranges::find(parts, trained, &StreamPart::trained);
    if (found != parts.end()) {
      found->patterns.push_back(p);
    } else {
      parts.push_back({{p}, trained});
    }
  }
  if (parts.front().patterns.empty()) parts.erase(parts.begin());
  return parts;
}

Visits count_visits(std::span<const Pattern> patterns, const ModelConfig& config,
                    const SegmentIndexers* indexers) {
  Visits visits;
  std::vector<std::vector<std::size_t>> streams(1, std::vector<std::size_t>(patterns.size()));
  std::iota(streams[0].begin(), streams[0].end(), std::size_t{0});
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const std::optional<std::size_t> letter =
        config.selects(layer) ? std::optional(config.letter_of(layer)) : std::nullopt;
    auto& counts = visits.counts[config.kind_of(layer)];
    ++counts[static_cast<std::size_t>(Visit::prefix)];
    std::vector<std::vector<std::size_t>> next;
    for (const auto& stream : streams) {
      for (const StreamPart& part : parts_of(patterns, stream, letter, indexers)) {
        ++counts[static_cast<std::size_t>(visit_of(patterns, part.patterns, letter))];
        std::vector<std::size_t> full, shared;
        for (const std::size_t p : part.patterns) {
          (letter && patterns[p].is_full(*letter) ? full : shared).push_back(p);
        }
        if (!full.empty()) next.push_back(std::move(full));
        if (!shared.empty()) next.push_back(std::move(shared));
      }
    }
    streams = std::move(next);
  }
  visits.counts[0][static_cast<std::size_t>(Visit::prefix_loss)] = 1;
  visits.counts[0][static_cast<std::size_t>(Visit::loss)] =
      static_cast<std::int64_t>(streams.size());
  return visits;
}

}  // namespace indexcache
