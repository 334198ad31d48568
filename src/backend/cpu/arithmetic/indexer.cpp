// SPDX-License-Identifier: Apache-2.0
// Lightning indexer with top-k, and the intersection counts of the sets it selects.
#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/arithmetic/index_scores.h"
#include "backend/cpu/arithmetic/round_index.h"
#include "backend/cpu/tiles.h"
#include "backend/pair_counts.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <iterator>
#include <mutex>

namespace indexcache::cpu {

namespace {

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

void round_index(int threads, Precision precision, std::int64_t width, const Tensor& x,
                 const Tensor& out) {
  RowLayout rows;
  rows.append(x.rows(), 0);
  for_each_tile(threads, rows, kQueryRows, [&](const Tile& tile) {
    for (std::int64_t row = tile.first_row; row < tile.first_row + tile.rows; ++row) {
      float* copy = row_of(out, row);
      std::copy_n(row_of(x, row), x.cols(), copy);
      for (std::int64_t c = 0; c < x.cols(); c += width) round_index(precision, width, copy + c);
    }
  });
}

void index_topk(int threads, const RowLayout& rows, const Tensor& queries,
                const Tensor& head_weights, const RowLayout& key_rows, const Tensor& keys,
                const Tensor& sets, SelectionTime& time) {
  for_each_tile(threads, rows, kQueryRows, [&](const Tile& tile) {
    SelectionClock clock(time);
    select_first(tile, tile.rows, queries, head_weights, key_rows.segments[tile.segment], keys,
                 sets, clock);
  });
}

std::vector<std::int32_t> common_counts(int threads, const Tensor& a, const Tensor& b) {
  std::vector<std::int32_t> counts(static_cast<std::size_t>(a.rows()));
  RowLayout rows;
  rows.append(a.rows(), 0);
  for_each_tile(threads, rows, 256, [&](const Tile& tile) {
    std::vector<std::int32_t> common;
    for (std::int64_t row = tile.first_row; row < tile.first_row + tile.rows; ++row) {
      const std::int32_t* of_a = a.data<std::int32_t>() + row * a.stride();
      const std::int32_t* of_b = b.data<std::int32_t>() + row * b.stride();
      common.clear();
      std::set_intersection(of_a, of_a + a.cols(), of_b, of_b + b.cols(),
                            std::back_inserter(common));
      counts[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(common.size());
    }
  });
  return counts;
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
