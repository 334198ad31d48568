// SPDX-License-Identifier: Apache-2.0
// How much of what the exact indexer selects another method selects for the same queries and keys:
// each layer that runs its indexer, while the exact sets are in force. Only queries that drop
// something count. Counts are integers, so they do not depend on any order.
#pragma once

#include "backend/backend.h"
#include "calibration/token_set.h"
#include "core/hisa.h"
#include "core/pattern.h"
#include "model/config.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace indexcache {

struct IndexerOverlap {
  Hisa method;
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

// What will be measured with `pattern`, without any query. Throws InputError if no query drops
// anything.
IndexerOverlap prepare_indexer_overlap(const ModelConfig& config, const TokenSet& tokens,
                                       const Pattern& pattern, const Hisa& method);

// Adds counts of other sequences, measured in the same way.
IndexerOverlap& operator+=(IndexerOverlap& overlap, const IndexerOverlap& more);

// Adds the queries of layers[n] in `rows`; common[row] members of their two sets are the same.
void accumulate(IndexerOverlap& overlap, std::size_t n, const RowLayout& rows,
                std::span<const std::int32_t> common);

}  // namespace indexcache
