// SPDX-License-Identifier: Apache-2.0
// Scores of an indexer in double precision, from the operands of index_topk, and those operands as
// engines deploy them in FP8: plain loops that share no code with the program.
#pragma once

#include "backend/tensor.h"
#include "support/bf16.h"
#include "support/fp8.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace indexcache::test {

struct IndexOperands {
  std::vector<float> queries;       // [rows, heads * width]
  std::vector<float> head_weights;  // [rows, heads]
  std::vector<float> keys;          // [key rows, width]
  std::int64_t heads, width;
};

// As transformers states them, of all rows: [rows, positions], 0 where a row sees nothing.
inline std::vector<float> index_scores(const IndexOperands& in, const RowLayout& rows,
                                       const RowLayout& key_rows, std::int64_t positions) {
  const double scale = 1 / std::sqrt(static_cast<double>(in.heads * in.width));
  std::vector<float> scores(static_cast<std::size_t>(rows.total * positions), 0.0f);
  for (std::size_t s = 0; s < rows.segments.size(); ++s) {
    const Segment &segment = rows.segments[s], &key_segment = key_rows.segments[s];
    for (std::int64_t i = 0; i < segment.rows; ++i) {
      const std::int64_t row = segment.first_row + i;
      for (std::int64_t u = 0; u < key_segment.candidates(segment.position(i)); ++u) {
        const float* key = in.keys.data() + (key_segment.first_row + u) * in.width;
        double score = 0;
        for (std::int64_t h = 0; h < in.heads; ++h) {
          const float* query = in.queries.data() + (row * in.heads + h) * in.width;
          double dot = 0;
          for (std::int64_t d = 0; d < in.width; ++d) dot += double{query[d]} * key[d];
          score +=
              in.head_weights[static_cast<std::size_t>(row * in.heads + h)] * std::max(dot, 0.0);
        }
        scores[static_cast<std::size_t>(row * positions + u)] = static_cast<float>(scale * score);
      }
    }
  }
  return scores;
}

// Every vector of `width` numbers: bf16, Hadamard transform, bf16, E4M3 with a power-of-two scale
// (docs/numerics.md, FP8 indexers).
inline void quantize_as_deployed(std::vector<float>& values, std::int64_t width) {
  const auto n = static_cast<std::size_t>(width);
  for (auto vector = values.begin(); vector != values.end(); vector += width) {
    std::transform(vector, vector + width, vector, [](float x) { return to_bf16(x); });
    for (std::size_t half = 1; half < n; half *= 2) {
      for (std::size_t i = 0; i < n; ++i) {
        if ((i & half) != 0) continue;
        float &a = vector[static_cast<std::ptrdiff_t>(i)],
              &b = vector[static_cast<std::ptrdiff_t>(i + half)];
        const float sum = a + b, difference = a - b;
        a = sum, b = difference;
      }
    }
    float peak = 1e-4f;
    std::transform(vector, vector + width, vector, [&](float x) {
      const float rotated = to_bf16(x / std::sqrt(static_cast<float>(width)));
      peak = std::max(peak, std::abs(rotated));
      return rotated;
    });
    const float scale = std::exp2(std::ceil(std::log2(peak / 448.0f)));
    std::transform(vector, vector + width, vector,
                   [&](float x) { return static_cast<float>(nearest_e4m3(x / scale)) * scale; });
  }
}

inline IndexOperands as_deployed(IndexOperands operands) {
  quantize_as_deployed(operands.queries, operands.width);
  quantize_as_deployed(operands.keys, operands.width);
  return operands;
}

// The k best of every row, ascending, the lower candidate first among equals; scores are those of
// rows k, k + 1, … of each sequence.
inline std::vector<std::int32_t> best_sets(const std::vector<float>& scores, std::int64_t positions,
                                           std::int64_t k) {
  std::vector<std::int32_t> sets;
  const std::int64_t rows = static_cast<std::int64_t>(scores.size()) / positions;
  for (std::int64_t row = 0; row < rows; ++row) {
    const float* of_row = scores.data() + row * positions;
    std::vector<std::int32_t> order(static_cast<std::size_t>(k + 1 + row % (positions - k)));
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, [&](auto a, auto b) { return of_row[a] > of_row[b]; });
    order.resize(static_cast<std::size_t>(k));
    std::ranges::sort(order);
    sets.insert(sets.end(), order.begin(), order.end());
  }
  return sets;
}

}  // namespace indexcache::test
