// SPDX-License-Identifier: Apache-2.0
// How much the top-k sets of queries near each other agree, within a layer that runs its indexer.
//
// A kernel for several queries that gathers a key only once pays if their sets agree: the union of
// n consecutive queries is what it gathers for them. Only queries that drop something count, and
// only neighbors that do, too, in the same sequence. Sums are integers.
#pragma once

#include "backend/backend.h"
#include "calibration/token_set.h"
#include "core/pattern.h"
#include "model/config.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace indexcache {

// Columns are `distances`, then `groups`.
struct QueryOverlap {
  std::int64_t index_topk = 0;
  std::vector<std::size_t> layers;      // that run their indexer, ascending
  std::vector<std::int64_t> distances;  // between two queries, in positions
  std::vector<std::int64_t> groups;     // sizes of groups of consecutive queries
  std::vector<std::int64_t> bucket_ends;
  std::vector<std::int64_t> totals;  // [buckets, columns] pairs of queries, and whole groups
  std::vector<std::int64_t> counts;  // [layers, buckets, columns] summed |A ∩ B| and |union|

  std::size_t columns() const { return distances.size() + groups.size(); }

  // In units of index_topk: the mean |A ∩ B| (0 to 1) of a distance, the mean |union| (1 to its
  // size) of a group. Of layers[n], of a bucket, or of all; nullopt if there is no such pair or
  // group.
  std::optional<double> of_layer(std::size_t n, std::size_t column) const;
  std::optional<double> of_bucket(std::size_t bucket, std::size_t column) const;
  std::optional<double> mean(std::size_t column) const;
};

// What will be measured with `pattern`: everything but the counts, which are 0. Throws InputError
// if no two neighbors select.
QueryOverlap prepare_query_overlap(const ModelConfig& config, const TokenSet& tokens,
                                   const Pattern& pattern);

// Adds counts of other sequences of the same tokens and pattern; totals are of all of them already.
QueryOverlap& operator+=(QueryOverlap& overlap, const QueryOverlap& more);

// Adds the sets of some sequences at layers[n]; rows have consecutive positions from
// first_selecting_position on.
void accumulate(QueryOverlap& overlap, Backend& backend, std::size_t n, const RowLayout& rows,
                const Tensor& sets);

}  // namespace indexcache
