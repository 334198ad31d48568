// SPDX-License-Identifier: Apache-2.0
// Scores and selection of the lightning indexer on the CPU, for the exact indexer and for HISA.
#pragma once

#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/arithmetic/matrix.h"
#include "backend/cpu/tiles.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

namespace indexcache::cpu {

// Queries scored together, and keys of one matrix product: with them the products of a block of
// heads stay in the second-level cache.
inline constexpr std::int64_t kQueryRows = 32;
inline constexpr std::int64_t kKeyRows = 256;

struct Products;
struct Scores;

// Adds the time of a thread's work, from its construction on, to one of two sums by turns.
class SelectionClock {
 public:
  explicit SelectionClock(SelectionTime& time) : time_(time), last_(Clock::now()) {}
  ~SelectionClock() {
    time_.scoring += scoring_;
    time_.choosing += choosing_;
  }
  SelectionClock(const SelectionClock&) = delete;
  SelectionClock& operator=(const SelectionClock&) = delete;

  void scored() { scoring_ += passed(); }
  void chose() { choosing_ += passed(); }

 private:
  using Clock = std::chrono::steady_clock;

  std::int64_t passed() {
    const Clock::time_point before = std::exchange(last_, Clock::now());
    return std::chrono::duration_cast<std::chrono::nanoseconds>(last_ - before).count();
  }

  SelectionTime& time_;
  Clock::time_point last_;
  std::int64_t scoring_ = 0, choosing_ = 0;
};

// scores[u] = sum_h weights[h] * max(products[query * heads + h][u], 0), heads in ascending order.
inline void combine_heads(const MatrixMap& products, const float* weights, std::int64_t heads,
                          std::int64_t query, std::int64_t keys, float* scores) {
  std::fill(scores, scores + keys, 0.0f);
  for (std::int64_t head = 0; head < heads; ++head) {
    const float* row = products.data() + (query * heads + head) * products.outerStride();
    const float weight = weights[head];
    for (std::int64_t u = 0; u < keys; ++u) scores[u] += weight * std::max(row[u], 0.0f);
  }
}

// The scores of one tile of queries against keys [0, key_count), into scores [rows, key_count].
inline void score_tile(const Tile& tile, const Tensor& queries, const Tensor& head_weights,
                       const Tensor& keys, std::int64_t first_key_row, std::int64_t key_count,
                       MatrixMap& scores) {
  const std::int64_t heads = head_weights.cols();
  const std::int64_t width = keys.cols();
  // [rows, heads * width] read as [rows * heads, width]: the heads of a query follow each other.
  const MatrixMap all_heads(row_of(queries, tile.first_row), tile.rows * heads, width,
                            Eigen::OuterStride<>(width));
  for (std::int64_t u = 0; u < key_count; u += kKeyRows) {
    const std::int64_t count = std::min(kKeyRows, key_count - u);
    auto products = scratch<Products>(tile.rows * heads, count);
    products.noalias() = all_heads * block(keys, first_key_row + u, count).transpose();
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      combine_heads(products, row_of(head_weights, tile.first_row + i), heads, i, count,
                    scores.data() + i * scores.outerStride() + u);
    }
  }
}

// Selects for the first `rows` rows of a tile. Whatever their number, the whole tile is scored, so
// that their bits do not depend on it.
inline void select_first(const Tile& tile, std::int64_t rows, const Tensor& queries,
                         const Tensor& head_weights, const Segment& key_segment, const Tensor& keys,
                         const Tensor& sets, SelectionClock& clock) {
  const std::int64_t key_count = key_segment.candidates(tile.last_position());
  auto scores = scratch<Scores>(tile.rows, key_count);
  score_tile(tile, queries, head_weights, keys, key_segment.first_row, key_count, scores);
  clock.scored();
  thread_local std::vector<std::uint32_t> workspace;
  for (std::int64_t i = 0; i < rows; ++i) {
    const auto candidates = key_segment.candidates(tile.position(i));
    select_top_k({scores.data() + i * scores.outerStride(), static_cast<std::size_t>(candidates)},
                 sets.cols(), workspace,
                 sets.data<std::int32_t>() + (tile.first_row + i) * sets.stride());
  }
  clock.chose();
}

}  // namespace indexcache::cpu
