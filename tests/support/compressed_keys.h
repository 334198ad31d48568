// SPDX-License-Identifier: Apache-2.0
// Queries of ragged sequences whose keys each represent several positions, and the operations that
// read candidates, on any backend.
#pragma once

#include "backend/backend.h"
#include "support/random.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <utility>
#include <vector>

namespace indexcache::test {

// Keys all of whose positions lie at or before `position`, counted one by one.
inline std::int64_t complete_keys(std::int64_t position, std::int64_t positions_per_key) {
  std::int64_t count = 0;
  while ((count + 1) * positions_per_key - 1 <= position) ++count;
  return count;
}

struct CompressedKeys {
  struct Shape {
    std::int64_t heads, width, value_width;
    std::int64_t k = 0;  // candidates of a row; 0: all of them
  };
  // First position and number of queries of each sequence; there are keys for all positions.
  using Queries = std::vector<std::pair<std::int64_t, std::int64_t>>;

  // Queries and keys are multiples of 1/8: their products are exact in any order, and a backend's
  // ReLU cuts the same ones as the reference's.
  CompressedKeys(const Queries& queries_of, std::int64_t positions_per_key, const Shape& of)
      : rate(positions_per_key), shape(of) {
    for (const auto& [first, count] : queries_of) {
      rows.append(count, first);
      keys.append(complete_keys(first + count - 1, rate), 0, rate);
    }
    for_rows([&](std::int64_t, std::int64_t, std::int64_t candidates) {
      columns = std::max(columns, candidates);
    });
    if (shape.k > 0) columns = shape.k;
    queries = eighths(rows.total * shape.heads * shape.width, 81);
    key_values = eighths(keys.total * shape.width, 82);
    head_weights = random_floats(count_of(rows.total, shape.heads), 83);
    make_sets();
    make_sums();
  }

  static std::size_t count_of(std::int64_t rows, std::int64_t cols) {
    return static_cast<std::size_t>(rows * cols);
  }

  // Calls body(row, row of the first key, candidates) for every query.
  template <typename Body>
  void for_rows(const Body& body) const {
    for (std::size_t s = 0; s < rows.segments.size(); ++s) {
      const Segment& segment = rows.segments[s];
      for (std::int64_t i = 0; i < segment.rows; ++i) {
        body(segment.first_row + i, keys.segments[s].first_row,
             complete_keys(segment.first_position + i, rate));
      }
    }
  }

  // The candidates that count for a row that has `all`.
  std::vector<std::int32_t> chosen(std::int64_t row, std::int64_t all) const {
    std::vector<std::int32_t> of_row;
    for (std::int64_t i = 0; i < (shape.k > 0 ? shape.k : all); ++i) {
      of_row.push_back(shape.k > 0 ? sets[count_of(row, shape.k) + static_cast<std::size_t>(i)]
                                   : static_cast<std::int32_t>(i));
    }
    return of_row;
  }

  std::vector<std::int32_t> selected(Backend& b, std::int64_t k) const {
    const Tensor out =
        b.upload(std::vector<std::int32_t>(count_of(rows.total, k), -77), rows.total, k);
    b.index_topk(rows, uploaded_queries(b), b.upload(head_weights, rows.total, shape.heads), keys,
                 uploaded_keys(b), out);
    return b.download_indices(out);
  }

  // `value_width` columns per head.
  std::vector<float> attended(Backend& b) const {
    const std::int64_t width = shape.value_width;
    const Tensor out =
        b.upload_matrix(std::vector<float>(count_of(rows.total, shape.heads * width), NAN),
                        rows.total, shape.heads * width);
    const Tensor cache = uploaded_keys(b);
    b.sparse_attention(rows, {uploaded_queries(b), shape.heads, shape.width, shape.width}, keys,
                       cache, cache.columns(0, width), uploaded_sets(b), scale,
                       {out, shape.heads, width, width});
    return b.download(out);
  }

  // What mean_attention makes of `sums`.
  std::vector<float> averaged(Backend& b) const {
    const Tensor out = b.upload(sums, rows.total, columns);
    b.mean_attention(rows, {uploaded_queries(b), shape.heads, shape.width, shape.width}, keys,
                     uploaded_keys(b), uploaded_sets(b), scale, weight, out);
    return b.download(out);
  }

  struct Gradients {
    std::vector<float> queries, head_weights, keys, divergences;

    bool operator==(const Gradients&) const = default;
  };
  Gradients distilled(Backend& b) const {
    const auto filled = [&](std::int64_t count, std::int64_t cols, float value) {
      return b.upload(std::vector<float>(count_of(count, cols), value), count, cols);
    };
    const IndexGradients out{filled(rows.total, shape.heads * shape.width, NAN),
                             filled(rows.total, shape.heads, NAN),
                             filled(keys.total, shape.width, 0.125f)};
    const Tensor divergences = filled(rows.total, 1, NAN);
    b.distill_indexer(rows,
                      {uploaded_queries(b), b.upload(head_weights, rows.total, shape.heads),
                       uploaded_keys(b), scale},
                      keys, uploaded_sets(b), {b.upload(sums, rows.total, columns), target_scale},
                      row_weight, out, divergences);
    return {b.download(out.queries), b.download(out.head_weights), b.download(out.keys),
            b.download(divergences)};
  }

  RowLayout rows, keys;
  std::int64_t rate;
  Shape shape;
  std::int64_t columns = 1;  // of sums
  std::vector<float> queries, key_values, head_weights;
  std::vector<std::int32_t> sets;  // [rows, k]
  std::vector<float> sums;  // [rows, columns]: 1 / target_scale in all; 0.5 beyond the candidates
  float scale = 0.3f, weight = 0.75f, target_scale = 1.0f / 3, row_weight = 2.0f;

 private:
  static std::vector<float> eighths(std::int64_t count, std::uint32_t seed) {
    auto values = random_floats(static_cast<std::size_t>(count), seed);
    for (float& value : values) value = std::round(value * 8) / 8;
    return values;
  }

  // k ascending ones of a row's candidates.
  void make_sets() {
    if (shape.k == 0) return;
    std::mt19937 engine(84);
    for_rows([&](std::int64_t, std::int64_t, std::int64_t candidates) {
      std::vector<std::int32_t> all;
      for (std::int64_t u = 0; u < candidates; ++u) all.push_back(static_cast<std::int32_t>(u));
      while (static_cast<std::int64_t>(all.size()) > shape.k) {
        all.erase(all.begin() + static_cast<std::ptrdiff_t>(engine() % all.size()));
      }
      sets.insert(sets.end(), all.begin(), all.end());
    });
  }

  void make_sums() {
    sums.assign(count_of(rows.total, columns), 0.5f);
    const auto random = random_floats(sums.size(), 85);
    for_rows([&](std::int64_t row, std::int64_t, std::int64_t candidates) {
      const std::size_t first = count_of(row, columns);
      const std::size_t end = first + chosen(row, candidates).size();
      double total = 0;
      for (std::size_t i = first; i < end; ++i) {
        sums[i] = i == first ? 0.5f : std::max(random[i], 0.0f);  // half of them are zero
        total += sums[i];
      }
      for (std::size_t i = first; i < end; ++i) sums[i] = static_cast<float>(3 * sums[i] / total);
    });
  }

  Tensor uploaded_queries(Backend& b) const {
    return b.upload_matrix(queries, rows.total, shape.heads * shape.width);
  }
  Tensor uploaded_keys(Backend& b) const {
    return b.upload_matrix(key_values, keys.total, shape.width);
  }
  Tensor uploaded_sets(Backend& b) const {
    if (shape.k == 0) return {};
    return b.upload(std::span<const std::int32_t>(sets), rows.total, shape.k);
  }
};

// Sequences around the tiles of every kernel, an empty one, and queries in the middle: from the
// first position with more than `least` candidates on.
inline CompressedKeys::Queries queries_that_see(std::int64_t least, std::int64_t rate) {
  std::int64_t first = 0;
  while (complete_keys(first, rate) <= least) ++first;
  return {{first, 40}, {first + 13, 150}, {first + 5, 0}, {first, 1}, {first + 301, 7}};
}

// The same with rows that have no candidates: whole sequences of them, and at the beginning.
inline CompressedKeys::Queries queries_from_the_beginning(std::int64_t rate) {
  CompressedKeys::Queries queries = queries_that_see(0, rate);
  queries.insert(queries.begin() + 1, {{0, 90}, {0, rate - 1}, {1, 3}});
  return queries;
}

// Nothing but rows without candidates.
inline CompressedKeys::Queries queries_before_any_key(std::int64_t rate) {
  return {{0, rate - 1}, {1, rate - 2}};
}

}  // namespace indexcache::test
