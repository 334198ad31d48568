// SPDX-License-Identifier: Apache-2.0
#include "search/set_overlap.h"

#include "core/error.h"
#include "search/overlap.h"

#include <fmt/format.h>

#include <algorithm>

namespace indexcache {
namespace {

// Calls body(layer, bucket) for everything in a part that has queries.
template <typename Body>
void for_part(const SetOverlap& overlap, const SetOverlap::Part& part, const Body& body) {
  for (std::size_t n = 0; n < overlap.layers.size(); ++n) {
    if (part.layer && *part.layer != n) continue;
    for (std::size_t b = 0; b < overlap.bucket_ends.size(); ++b) {
      if ((part.bucket && *part.bucket != b) || overlap.queries[b] == 0) continue;
      body(n, b);
    }
  }
}

}  // namespace

std::optional<double> SetOverlap::mean(const Part& part) const {
  std::int64_t common = 0, total = 0;
  for_part(*this, part, [&](std::size_t n, std::size_t b) {
    common += counts[n * bucket_ends.size() + b];
    total += queries[b] * index_topk;
  });
  if (total == 0) return std::nullopt;
  return static_cast<double>(common) / static_cast<double>(total);
}

std::optional<double> SetOverlap::worst(const Part& part) const {
  std::optional<std::int64_t> fewest;
  for_part(*this, part, [&](std::size_t n, std::size_t b) {
    const std::int64_t here = least[n * bucket_ends.size() + b];
    fewest = std::min(fewest.value_or(here), here);
  });
  if (!fewest) return std::nullopt;
  return static_cast<double>(*fewest) / static_cast<double>(index_topk);
}

SetOverlap prepare_set_overlap(const ModelConfig& config, const TokenSet& tokens,
                               const Pattern& pattern, std::int64_t advised) {
  const std::int64_t first = config.first_selecting_position();
  if (tokens.longest() <= first) {
    throw InputError({"every sequence is too short to compare selections", tokens.source,
                      fmt::format("the longest has {} tokens, and queries before position {} "
                                  "select every position",
                                  tokens.longest(), first),
                      fmt::format("use sequences of more than {} tokens", advised)});
  }
  SetOverlap overlap;
  overlap.index_topk = config.index_topk;
  overlap.layers = pattern.full_layers();
  overlap.bucket_ends = position_buckets(first, tokens.longest());
  const std::size_t buckets = overlap.bucket_ends.size();
  overlap.queries.assign(buckets, 0);
  overlap.counts.assign(overlap.layers.size() * buckets, 0);
  overlap.least.assign(overlap.counts.size(), overlap.index_topk);
  return overlap;
}

SetOverlap& operator+=(SetOverlap& overlap, const SetOverlap& more) {
  for (std::size_t b = 0; b < more.queries.size(); ++b) overlap.queries[b] += more.queries[b];
  for (std::size_t c = 0; c < more.counts.size(); ++c) {
    overlap.counts[c] += more.counts[c];
    overlap.least[c] = std::min(overlap.least[c], more.least[c]);
  }
  return overlap;
}

void accumulate(SetOverlap& overlap, std::size_t n, const RowLayout& rows,
                std::span<const std::int32_t> common) {
  const std::size_t buckets = overlap.bucket_ends.size();
  for (const Segment& segment : rows.segments) {
    for (std::int64_t i = 0; i < segment.rows; ++i) {
      const auto bucket = std::ranges::upper_bound(overlap.bucket_ends, segment.position(i));
      const auto b = static_cast<std::size_t>(bucket - overlap.bucket_ends.begin());
      const std::int64_t count = common[static_cast<std::size_t>(segment.first_row + i)];
      overlap.queries[b] += n == 0 ? 1 : 0;
      overlap.counts[n * buckets + b] += count;
      std::int64_t& least = overlap.least[n * buckets + b];
      least = std::min(least, count);
    }
  }
}

}  // namespace indexcache
