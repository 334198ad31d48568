// SPDX-License-Identifier: Apache-2.0
// How much two ways to select have in common, for the same queries: each layer that runs its
// indexer. Only queries that drop something count. Counts are integers, so they do not depend on
// any order.
#pragma once

#include "backend/backend.h"
#include "calibration/token_set.h"
#include "core/pattern.h"
#include "model/config.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace indexcache {

struct SetOverlap {
  std::int64_t index_topk = 0;
  std::vector<std::size_t> layers;        // that run their indexer, ascending
  std::vector<std::int64_t> bucket_ends;  // as in Overlap
  std::vector<std::int64_t> queries;      // [buckets], of each layer
  std::vector<std::int64_t> counts;       // [layers, buckets] summed |A ∩ B|
  std::vector<std::int64_t> least;        // [layers, buckets] the smallest |A ∩ B|

  // Of a layer and a bucket, or of all of them; nullopt without queries.
  struct Part {
    std::optional<std::size_t> layer;  // in layers
    std::optional<std::size_t> bucket;
  };
  // Fractions of index_topk: over the queries of a part, and of its worst query.
  std::optional<double> mean(const Part& part) const;
  std::optional<double> worst(const Part& part) const;
};

// What will be measured with `pattern`, without any query. Throws InputError that suggests
// sequences of more than `advised` tokens if no query drops anything.
SetOverlap prepare_set_overlap(const ModelConfig& config, const TokenSet& tokens,
                               const Pattern& pattern, std::int64_t advised);

// Adds counts of other sequences, measured in the same way.
SetOverlap& operator+=(SetOverlap& overlap, const SetOverlap& more);

// Adds the queries of layers[n] in `rows`; common[row] members of their two sets are the same.
void accumulate(SetOverlap& overlap, std::size_t n, const RowLayout& rows,
                std::span<const std::int32_t> common);

}  // namespace indexcache
