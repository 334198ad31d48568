// SPDX-License-Identifier: Apache-2.0
#include "search/overlap.h"

#include <algorithm>

namespace indexcache {
namespace {

double fraction(std::int64_t count, std::int64_t queries, std::int64_t k) {
  return queries == 0 ? 0.0 : static_cast<double>(count) / static_cast<double>(queries * k);
}

// Halfway between the mean overlap of all pairs and that of neighbors.
double halfway_level(const Overlap& overlap) {
  const std::size_t n = overlap.layers;
  double all = 0;
  double neighbors = 0;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = i + 1; j < n; ++j) all += overlap.mean(i, j);
    if (i + 1 < n) neighbors += overlap.mean(i, i + 1);
  }
  const auto count = static_cast<double>(n);
  return (all / (count * (count - 1) / 2) + neighbors / (count - 1)) / 2;
}

}  // namespace

double Overlap::mean(std::size_t i, std::size_t j, std::size_t bucket) const {
  return fraction(counts[(bucket * layers + i) * layers + j], queries[bucket], index_topk);
}

double Overlap::mean(std::size_t i, std::size_t j) const {
  std::int64_t count = 0;
  std::int64_t total = 0;
  for (std::size_t b = 0; b < queries.size(); ++b) {
    count += counts[(b * layers + i) * layers + j];
    total += queries[b];
  }
  return fraction(count, total, index_topk);
}

std::vector<double> Overlap::matrix() const {
  std::vector<double> values;
  for (std::size_t i = 0; i < layers; ++i) {
    for (std::size_t j = 0; j < layers; ++j) values.push_back(mean(i, j));
  }
  return values;
}

std::vector<double> Overlap::bucket_matrix(std::size_t b) const {
  std::vector<double> values;
  for (std::size_t i = 0; i < layers; ++i) {
    for (std::size_t j = 0; j < layers; ++j) values.push_back(mean(i, j, b));
  }
  return values;
}

std::vector<double> Overlap::adjacent() const {
  std::vector<double> values;
  for (std::size_t i = 0; i + 1 < layers; ++i) values.push_back(mean(i, i + 1));
  return values;
}

std::vector<std::int64_t> position_buckets(std::int64_t first_selecting, std::int64_t longest) {
  std::vector<std::int64_t> ends;
  std::int64_t end = first_selecting;
  do {
    end *= 2;
    ends.push_back(end);
  } while (end < longest);
  return ends;
}

Overlap& operator+=(Overlap& overlap, const Overlap& more) {
  if (overlap.counts.empty()) return overlap = more;
  for (std::size_t c = 0; c < more.counts.size(); ++c) overlap.counts[c] += more.counts[c];
  for (std::size_t b = 0; b < more.queries.size(); ++b) overlap.queries[b] += more.queries[b];
  return overlap;
}

void accumulate(Overlap& overlap, Backend& backend, const RowLayout& rows,
                const std::vector<Tensor>& sets) {
  const auto counts = backend.overlap_counts(rows, sets, overlap.bucket_ends);
  if (overlap.counts.empty()) {
    overlap.counts.assign(counts.size(), 0);
    overlap.queries.assign(overlap.bucket_ends.size(), 0);
  }
  for (std::size_t c = 0; c < counts.size(); ++c) overlap.counts[c] += counts[c];
  for (const Segment& segment : rows.segments) {
    for (std::int64_t row = 0; row < segment.rows; ++row) {
      const std::int64_t position = segment.position(row);
      const auto bucket = std::ranges::upper_bound(overlap.bucket_ends, position);
      ++overlap.queries[static_cast<std::size_t>(bucket - overlap.bucket_ends.begin())];
    }
  }
}

std::vector<OverlapBlock> find_blocks(const Overlap& overlap) {
  const std::size_t n = overlap.layers;
  if (n < 2) return {};
  const double level = halfway_level(overlap);
  // best[e]: largest gain of cutting layers [0, e); start[e]: first layer of its last run.
  std::vector<double> best(n + 1, 0.0);
  std::vector<std::size_t> start(n + 1, 0);
  for (std::size_t end = 1; end <= n; ++end) {
    double gain = 0;
    best[end] = best[end - 1];
    start[end] = end - 1;
    for (std::size_t first = end - 1; first-- > 0;) {
      for (std::size_t other = first + 1; other < end; ++other) {
        gain += overlap.mean(first, other) - level;
      }
      if (best[first] + gain <= best[end]) continue;
      best[end] = best[first] + gain;
      start[end] = first;
    }
  }
  std::vector<OverlapBlock> blocks;
  for (std::size_t end = n; end > 0; end = start[end]) {
    if (end - start[end] >= 2) blocks.push_back({start[end], end - 1});
  }
  std::ranges::reverse(blocks);
  return blocks;
}

}  // namespace indexcache
