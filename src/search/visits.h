// SPDX-License-Identifier: Apache-2.0
// What a sweep does at a layer, and how often: the cost of a sweep is these counts times what one
// visit takes.
#pragma once

#include "core/pattern.h"
#include "model/config.h"
#include "search/segment_indexers.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace indexcache {

enum class Visit {
  prefix,       // rows before the first position that selects, of all patterns, at a layer
  full,         // a stream whose patterns all run the layer's indexer
  shared,       // one whose patterns all reuse index sets
  fork,         // one that goes on as two
  prefix_loss,  // losses of the prefix rows
  loss,         // of the other rows of a stream
};
inline constexpr std::size_t kVisits = 6;
inline constexpr std::array<std::string_view, kVisits> kVisitNames = {
    "prefix rows", "F layer", "S layer", "fork", "prefix loss", "loss"};

// What a stream of these patterns (places in `patterns`) does at a layer that has a letter; at one
// that selects nothing it is one that reuses index sets.
Visit visit_of(std::span<const Pattern> patterns, std::span<const std::size_t> stream,
               std::optional<std::size_t> letter);

// Patterns of one stream that agree on the indexer of a layer, or differ only in whether they run
// it.
struct StreamPart {
  std::vector<std::size_t> patterns;
  const IndexerWeights* trained;  // null: the checkpoint's
};

// Those with the checkpoint's indexer first, then the others in the order of their first pattern.
std::vector<StreamPart> parts_of(std::span<const Pattern> patterns,
                                 std::span<const std::size_t> stream,
                                 std::optional<std::size_t> letter,
                                 const SegmentIndexers* indexers);

// Visits of one pass over the layers, by the kind of a layer (ModelConfig::kind_of); losses are
// counted under [0].
struct Visits {
  std::array<std::array<std::int64_t, kVisits>, 2> counts{};

  std::int64_t of(Visit visit) const {
    const auto v = static_cast<std::size_t>(visit);
    return counts[0][v] + counts[1][v];
  }
  Visits& operator+=(const Visits& more);

  // Streams that leave a layer, over all layers.
  std::int64_t stream_layers() const {
    return of(Visit::full) + of(Visit::shared) + 2 * of(Visit::fork);
  }
};

// `indexers` null: there are only those of the checkpoint. Equal patterns share a stream and its
// loss.
Visits count_visits(std::span<const Pattern> patterns, const ModelConfig& config,
                    const SegmentIndexers* indexers = nullptr);

}  // namespace indexcache
