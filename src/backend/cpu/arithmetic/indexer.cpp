// SPDX-License-Identifier: Apache-2.0
// Lightning indexer with top-k, and the intersection counts of the sets it selects.
#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/arithmetic/matrix.h"
#include "backend/cpu/arithmetic/simd.h"
#include "backend/cpu/tiles.h"
#include "backend/pair_counts.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <mutex>

namespace indexcache::cpu {

namespace {

// Queries scored together, and keys of one matrix product: with them the products of a block of
// heads stay in the second-level cache.
constexpr std::int64_t kQueryRows = 32;
constexpr std::int64_t kKeyRows = 256;

struct Products;
struct Scores;

// scores[i][u] = sum_h weights[h] * max(products[i * heads + h][u], 0), heads in ascending order.
void combine_heads(const MatrixMap& products, const float* weights, std::int64_t heads,
                   std::int64_t query, std::int64_t keys, float* scores) {
  std::fill(scores, scores + keys, 0.0f);
  for (std::int64_t head = 0; head < heads; ++head) {
    const float* row = products.data() + (query * heads + head) * products.outerStride();
    const float weight = weights[head];
    for (std::int64_t u = 0; u < keys; ++u) scores[u] += weight * std::max(row[u], 0.0f);
  }
}

// The scores of one tile of queries against keys [0, key_count), into scores [rows, key_count].
void score_tile(const Tile& tile, const Tensor& queries, const Tensor& head_weights,
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

// Which positions a query selected, one bit each.
void mark(const std::int32_t* set, std::int64_t k, std::uint64_t* bits) {
  for (std::int64_t i = 0; i < k; ++i) bits[set[i] >> 6] |= std::uint64_t{1} << (set[i] & 63);
}

std::int64_t common(const std::uint64_t* a, const std::uint64_t* b, std::int64_t words) {
  std::int64_t count = 0;
  for (std::int64_t w = 0; w < words; ++w) count += std::popcount(a[w] & b[w]);
  return count;
}

// Adds the pair counts (upper triangle) of one query to counts [L, L].
void count_query(const std::vector<Tensor>& sets, std::int64_t row, std::int64_t position,
                 std::vector<std::uint64_t>& bits, std::int64_t* counts) {
  const auto layers = static_cast<std::int64_t>(sets.size());
  const std::int64_t words = position / 64 + 1;
  bits.assign(static_cast<std::size_t>(layers * words), 0);
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const Tensor& set = sets[static_cast<std::size_t>(layer)];
    mark(set.data<std::int32_t>() + row * set.stride(), set.cols(), bits.data() + layer * words);
  }
  for (std::int64_t i = 0; i < layers; ++i) {
    for (std::int64_t j = i; j < layers; ++j) {
      counts[i * layers + j] += common(bits.data() + i * words, bits.data() + j * words, words);
    }
  }
}

}  // namespace

void index_topk(int threads, const RowLayout& rows, const Tensor& queries,
                const Tensor& head_weights, const RowLayout& key_rows, const Tensor& keys,
                const Tensor& sets) {
  for_each_tile(threads, rows, kQueryRows, [&](const Tile& tile) {
    const Segment& key_segment = key_rows.segments[tile.segment];
    const std::int64_t key_count = key_segment.candidates(tile.last_position());
    auto scores = scratch<Scores>(tile.rows, key_count);
    score_tile(tile, queries, head_weights, keys, key_segment.first_row, key_count, scores);
    thread_local std::vector<std::uint32_t> workspace;
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      const auto candidates = key_segment.candidates(tile.position(i));
      select_top_k({scores.data() + i * scores.outerStride(), static_cast<std::size_t>(candidates)},
                   sets.cols(), workspace,
                   sets.data<std::int32_t>() + (tile.first_row + i) * sets.stride());
    }
  });
}

std::vector<std::int64_t> overlap_counts(int threads, const RowLayout& rows,
                                         const std::vector<Tensor>& sets,
                                         std::span<const std::int64_t> bucket_ends) {
  const auto layers = static_cast<std::int64_t>(sets.size());
  const std::size_t size = bucket_ends.size() * sets.size() * sets.size();
  std::vector<std::int64_t> total(size, 0);
  std::mutex adding;
  for_each_tile(threads, rows, 256, [&](const Tile& tile) {
    std::vector<std::int64_t> counts(size, 0);
    std::vector<std::uint64_t> bits;
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      const std::int64_t position = tile.position(i);
      const auto bucket = std::ranges::upper_bound(bucket_ends, position) - bucket_ends.begin();
      count_query(sets, tile.first_row + i, position, bits,
                  counts.data() + bucket * layers * layers);
    }
    const std::lock_guard lock(adding);  // integers: the order of addition does not matter
    for (std::size_t c = 0; c < size; ++c) total[c] += counts[c];
  });
  mirror(total, sets.size());
  return total;
}

}  // namespace indexcache::cpu
