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

// As an engine stores the indexer's queries and keys (docs/numerics.md, Precision of the indexer).
enum class DeployedAs { bf16, fp8, fp4 };

// The nearest E2M1 number, by trying all of them; of two the even one, 0, 1, 2 or 4.
inline double nearest_e2m1(double x) {
  const double numbers[] = {0, 1, 2, 4, 0.5, 1.5, 3, 6};  // the even ones come first
  const double* best = std::ranges::min_element(
      numbers, {}, [x](double number) { return std::abs(std::abs(x) - number); });
  return std::copysign(*best, x);
}

// Hadamard transform of n numbers, times n^-0.5.
template <typename Iterator>
void rotate_as_deployed(Iterator vector, std::size_t n) {
  for (std::size_t half = 1; half < n; half *= 2) {
    for (std::size_t i = 0; i < n; ++i) {
      if ((i & half) != 0) continue;
      float &a = vector[static_cast<std::ptrdiff_t>(i)],
            &b = vector[static_cast<std::ptrdiff_t>(i + half)];
      const float sum = a + b, difference = a - b;
      a = sum, b = difference;
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    vector[static_cast<std::ptrdiff_t>(i)] /= std::sqrt(static_cast<float>(n));
  }
}

// Every vector of `width` numbers: bf16; then Hadamard transform, bf16, and E4M3 or E2M1 with a
// power-of-two scale for each vector or each 32 numbers.
inline void quantize_as_deployed(std::vector<float>& values, std::int64_t width, DeployedAs type) {
  const auto round = [](auto begin, auto end) {
    std::transform(begin, end, begin, [](float x) { return to_bf16(x); });
  };
  round(values.begin(), values.end());
  if (type == DeployedAs::bf16) return;
  for (auto vector = values.begin(); vector != values.end(); vector += width) {
    rotate_as_deployed(vector, static_cast<std::size_t>(width));
  }
  round(values.begin(), values.end());
  const bool fp8 = type == DeployedAs::fp8;
  for (auto group = values.begin(); group != values.end(); group += fp8 ? width : 32) {
    const auto end = group + (fp8 ? width : 32);
    float peak = fp8 ? 1e-4f : 0x6p-126f;
    for (auto x = group; x != end; ++x) peak = std::max(peak, std::abs(*x));
    const float scale = std::exp2(std::ceil(std::log2(peak / (fp8 ? 448.0f : 6.0f))));
    std::transform(group, end, group, [&](float x) {
      return static_cast<float>(fp8 ? nearest_e4m3(x / scale) : nearest_e2m1(x / scale)) * scale;
    });
  }
}

inline IndexOperands as_deployed(IndexOperands operands, DeployedAs type = DeployedAs::fp8) {
  quantize_as_deployed(operands.queries, operands.width, type);
  quantize_as_deployed(operands.keys, operands.width, type);
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
