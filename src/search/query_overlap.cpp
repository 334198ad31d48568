// SPDX-License-Identifier: Apache-2.0
#include "search/query_overlap.h"

#include "core/error.h"
#include "search/overlap.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace indexcache {
namespace {

// Adds a sequence's pairs of queries and whole groups; positions from `first` to `length` - 1.
void add_totals(QueryOverlap& overlap, std::int64_t first, std::int64_t length) {
  for (std::int64_t position = first; position < length; ++position) {
    const auto bucket = std::ranges::upper_bound(overlap.bucket_ends, position);
    const auto b = static_cast<std::size_t>(bucket - overlap.bucket_ends.begin());
    std::int64_t* total = overlap.totals.data() + b * overlap.columns();
    const std::int64_t index = position - first;
    for (const std::int64_t distance : overlap.distances) *total++ += index >= distance ? 1 : 0;
    for (const std::int64_t size : overlap.groups) *total++ += (index + 1) % size == 0 ? 1 : 0;
  }
}

// The mean of a column over some layers and buckets.
std::optional<double> mean_of(const QueryOverlap& overlap, std::size_t column,
                              std::pair<std::size_t, std::size_t> layers,
                              std::pair<std::size_t, std::size_t> buckets) {
  const std::size_t all_buckets = overlap.bucket_ends.size();
  std::int64_t count = 0, total = 0;
  for (std::size_t n = layers.first; n < layers.second; ++n) {
    for (std::size_t b = buckets.first; b < buckets.second; ++b) {
      count += overlap.counts[(n * all_buckets + b) * overlap.columns() + column];
      total += overlap.totals[b * overlap.columns() + column];
    }
  }
  if (total == 0) return std::nullopt;
  return static_cast<double>(count) / static_cast<double>(total * overlap.index_topk);
}

}  // namespace

std::optional<double> QueryOverlap::of_layer(std::size_t n, std::size_t column) const {
  return mean_of(*this, column, {n, n + 1}, {0, bucket_ends.size()});
}

std::optional<double> QueryOverlap::of_bucket(std::size_t bucket, std::size_t column) const {
  return mean_of(*this, column, {0, layers.size()}, {bucket, bucket + 1});
}

std::optional<double> QueryOverlap::mean(std::size_t column) const {
  return mean_of(*this, column, {0, layers.size()}, {0, bucket_ends.size()});
}

QueryOverlap prepare_query_overlap(const ModelConfig& config, const TokenSet& tokens,
                                   const Pattern& pattern) {
  const std::int64_t first = config.first_selecting_position();
  if (tokens.longest() < first + 2) {
    throw InputError({"every sequence is too short to compare neighboring queries", tokens.source,
                      fmt::format("the longest has {} tokens, and queries before position {} "
                                  "select every position",
                                  tokens.longest(), first),
                      fmt::format("use sequences of at least {} tokens", 4 * first)});
  }
  QueryOverlap overlap;
  overlap.index_topk = config.index_topk;
  overlap.distances = {1, 16, 128};
  overlap.groups = {2, 4, 8};
  for (std::size_t layer = 0; layer < pattern.layers(); ++layer) {
    if (pattern.is_full(layer)) overlap.layers.push_back(layer);
  }
  overlap.bucket_ends = position_buckets(first, tokens.longest());
  overlap.totals.assign(overlap.bucket_ends.size() * overlap.columns(), 0);
  overlap.counts.assign(overlap.layers.size() * overlap.totals.size(), 0);
  for (const auto& sequence : tokens.sequences) {
    add_totals(overlap, first, static_cast<std::int64_t>(sequence.size()));
  }
  return overlap;
}

QueryOverlap& operator+=(QueryOverlap& overlap, const QueryOverlap& more) {
  for (std::size_t c = 0; c < more.counts.size(); ++c) overlap.counts[c] += more.counts[c];
  return overlap;
}

void accumulate(QueryOverlap& overlap, Backend& backend, std::size_t n, const RowLayout& rows,
                const Tensor& sets) {
  const auto counts =
      backend.neighbor_counts(rows, sets, overlap.distances, overlap.groups, overlap.bucket_ends);
  std::int64_t* of_layer = overlap.counts.data() + n * counts.size();
  for (std::size_t c = 0; c < counts.size(); ++c) of_layer[c] += counts[c];
}

}  // namespace indexcache
