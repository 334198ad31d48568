// SPDX-License-Identifier: Apache-2.0
// Attention over a window and entries, and the pooling of entries, in plain loops and double
// precision on tensors in host memory.
#pragma once

#include "backend/backend.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace indexcache::test {

inline const float* row_at(const Tensor& tensor, std::int64_t row) {
  return tensor.data<float>() + row * tensor.stride();
}

// One head of one query over some keys, which are values, with a logit that has no value.
inline std::vector<double> attend_plainly(const float* query, const std::vector<const float*>& keys,
                                          std::int64_t width, double scale, const float* sink) {
  std::vector<double> logits;
  for (const float* key : keys) {
    double dot = 0;
    for (std::int64_t d = 0; d < width; ++d) dot += double{query[d]} * key[d];
    logits.push_back(scale * dot);
  }
  double peak = sink != nullptr ? double{*sink} : logits.front();
  for (const double logit : logits) peak = std::max(peak, logit);
  double total = sink != nullptr ? std::exp(*sink - peak) : 0.0;
  for (const double logit : logits) total += std::exp(logit - peak);
  std::vector<double> out(static_cast<std::size_t>(width), 0.0);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const double share = std::exp(logits[i] - peak) / total;
    for (std::size_t d = 0; d < out.size(); ++d) out[d] += share * keys[i][d];
  }
  return out;
}

// What a query attends to. An entry is seen from `shift` positions before its last one on.
inline std::vector<const float*> seen_keys(const WindowKeys& keys, std::size_t sequence,
                                           std::int64_t row, std::int64_t position,
                                           std::int64_t shift) {
  std::vector<const float*> seen;
  const std::int64_t first_row = keys.rows.segments[sequence].first_row;
  for (std::int64_t u = 0; u <= position; ++u) {
    if (u > position - keys.window) seen.push_back(row_at(keys.keys, first_row + u));
  }
  if (keys.entries.empty()) return seen;
  const Segment& entries = keys.entry_rows.segments[sequence];
  const auto* set =
      keys.sets.empty() ? nullptr : keys.sets.data<std::int32_t>() + row * keys.sets.stride();
  for (std::int64_t e = 0; e < entries.rows; ++e) {
    const bool whole = (e + 1) * entries.positions_per_key - 1 <= position + shift;
    const bool chosen =
        set == nullptr || std::find(set, set + keys.sets.cols(), e) != set + keys.sets.cols();
    if (set == nullptr ? whole : chosen)
      seen.push_back(row_at(keys.entries, entries.first_row + e));
  }
  return seen;
}

inline void window_attention_plainly(const RowLayout& rows, const Heads& queries,
                                     const WindowKeys& keys, float scale, const Heads& out,
                                     const Tensor& sinks, std::int64_t shift = 0) {
  for (std::size_t s = 0; s < rows.segments.size(); ++s) {
    const Segment& segment = rows.segments[s];
    for (std::int64_t i = 0; i < segment.rows; ++i) {
      const std::int64_t row = segment.first_row + i;
      const auto seen = seen_keys(keys, s, row, segment.position(i), shift);
      for (std::int64_t h = 0; h < queries.count; ++h) {
        const float* sink = sinks.empty() ? nullptr : sinks.data<float>() + h;
        const auto mixed = attend_plainly(row_at(queries.tensor, row) + h * queries.stride, seen,
                                          queries.width, scale, sink);
        float* target = out.tensor.data<float>() + row * out.tensor.stride() + h * out.stride;
        std::ranges::transform(mixed, target, [](double x) { return static_cast<float>(x); });
      }
    }
  }
}

// Column c of entry e of a sequence whose first position is row `first_row` of x: [values, gates].
inline double pooled_plainly(const Tensor& x, const Tensor& bias, std::int64_t first_row,
                             std::int64_t e, std::int64_t c, std::int64_t width) {
  const std::int64_t ratio = bias.rows(), n = bias.cols();
  double total = 0, sum = 0;
  for (std::int64_t position = 0; position < (e + 1) * ratio; ++position) {
    const bool own = position >= e * ratio;
    if (!own && (n == width || position < (e - 1) * ratio)) continue;
    const std::int64_t column = own && n > width ? width + c : c;
    const float* row = row_at(x, first_row + position);
    const double weight =
        std::exp(double{row[n + column]} + row_at(bias, position % ratio)[column]);
    total += weight;
    sum += weight * row[column];
  }
  return sum / total;
}

}  // namespace indexcache::test
