// SPDX-License-Identifier: Apache-2.0
#include "search/visits.h"

#include <algorithm>
#include <numeric>

namespace indexcache {

Visit visit_of(std::span<const Pattern> patterns, std::span<const std::size_t> stream,
               std::size_t layer) {
  bool full = false, shared = false;
  for (const std::size_t p : stream) (patterns[p].is_full(layer) ? full : shared) = true;
  return !full ? Visit::shared : shared ? Visit::fork : Visit::full;
}

Visits& Visits::operator+=(const Visits& more) {
  for (std::size_t kind = 0; kind < counts.size(); ++kind) {
    for (std::size_t v = 0; v < kVisits; ++v) counts[kind][v] += more.counts[kind][v];
  }
  return *this;
}

std::vector<StreamPart> parts_of(std::span<const Pattern> patterns,
                                 std::span<const std::size_t> stream, std::size_t layer,
                                 const SegmentIndexers* indexers) {
  std::vector<StreamPart> parts = {{{}, nullptr}};
  for (const std::size_t p : stream) {
    const IndexerWeights* trained = indexers ? indexers->of(patterns[p], layer) : nullptr;
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

Visits count_visits(std::span<const Pattern> patterns, const std::vector<bool>& moe_layer,
                    const SegmentIndexers* indexers) {
  Visits visits;
  std::vector<std::vector<std::size_t>> streams(1, std::vector<std::size_t>(patterns.size()));
  std::iota(streams[0].begin(), streams[0].end(), std::size_t{0});
  for (std::size_t layer = 0; layer < patterns[0].layers(); ++layer) {
    auto& counts = visits.counts[moe_layer[layer] ? 1 : 0];
    ++counts[static_cast<std::size_t>(Visit::prefix)];
    std::vector<std::vector<std::size_t>> next;
    for (const auto& stream : streams) {
      for (const StreamPart& part : parts_of(patterns, stream, layer, indexers)) {
        ++counts[static_cast<std::size_t>(visit_of(patterns, part.patterns, layer))];
        std::vector<std::size_t> full, shared;
        for (const std::size_t p : part.patterns) {
          (patterns[p].is_full(layer) ? full : shared).push_back(p);
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
