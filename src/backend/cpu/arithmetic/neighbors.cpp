// SPDX-License-Identifier: Apache-2.0
// What the index sets of queries near each other have in common.
#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/tiles.h"

#include <algorithm>
#include <cstdint>
#include <mutex>

namespace indexcache::cpu {
namespace {

// Positions that have been marked, one bit each.
class Marks {
 public:
  explicit Marks(std::int64_t positions) : words_(static_cast<std::size_t>(positions / 64 + 1)) {}

  void clear() { std::ranges::fill(words_, 0); }

  // Marks a set; returns how much of it had not been marked.
  std::int64_t add(std::span<const std::int32_t> set) {
    std::int64_t added = 0;
    for (const std::int32_t position : set) {
      std::uint64_t& word = word_of(position);
      added += (word & bit_of(position)) == 0 ? 1 : 0;
      word |= bit_of(position);
    }
    return added;
  }

  std::int64_t common(std::span<const std::int32_t> set) {
    std::int64_t count = 0;
    for (const std::int32_t position : set) {
      count += (word_of(position) & bit_of(position)) != 0 ? 1 : 0;
    }
    return count;
  }

 private:
  std::uint64_t& word_of(std::int32_t position) {
    return words_[static_cast<std::size_t>(position >> 6)];
  }
  static std::uint64_t bit_of(std::int32_t position) { return std::uint64_t{1} << (position & 63); }

  std::vector<std::uint64_t> words_;
};

struct Columns {
  std::span<const std::int64_t> distances, groups;

  std::size_t count() const { return distances.size() + groups.size(); }
  // The largest group whose last row is row `index` of its segment; 0 if none ends there.
  std::int64_t largest_ending(std::int64_t index) const {
    std::int64_t largest = 0;
    for (const std::int64_t group : groups) {
      if ((index + 1) % group == 0) largest = std::max(largest, group);
    }
    return largest;
  }
};

// Adds the counts of `row`, which is row `index` of its segment.
void count_row(const Tensor& sets, std::int64_t row, std::int64_t index, const Columns& columns,
               Marks& marks, std::int64_t* counts) {
  const auto set_before = [&](std::int64_t distance) {
    return std::span(sets.data<const std::int32_t>() + (row - distance) * sets.stride(),
                     static_cast<std::size_t>(sets.cols()));
  };
  marks.clear();
  std::int64_t united = marks.add(set_before(0));
  for (std::size_t d = 0; d < columns.distances.size(); ++d) {
    if (columns.distances[d] > index) continue;
    counts[d] += marks.common(set_before(columns.distances[d]));
  }
  const std::int64_t largest = columns.largest_ending(index);
  for (std::int64_t size = 1; size <= largest; ++size) {
    if (size > 1) united += marks.add(set_before(size - 1));
    for (std::size_t g = 0; g < columns.groups.size(); ++g) {
      if (columns.groups[g] != size || (index + 1) % size != 0) continue;
      counts[columns.distances.size() + g] += united;
    }
  }
}

}  // namespace

std::vector<std::int64_t> neighbor_counts(int threads, const RowLayout& rows, const Tensor& sets,
                                          std::span<const std::int64_t> distances,
                                          std::span<const std::int64_t> groups,
                                          std::span<const std::int64_t> bucket_ends) {
  const Columns columns{distances, groups};
  const std::size_t size = bucket_ends.size() * columns.count();
  std::vector<std::int64_t> total(size, 0);
  std::mutex adding;
  for_each_tile(threads, rows, 256, [&](const Tile& tile) {
    std::vector<std::int64_t> counts(size, 0);
    Marks marks(tile.last_position());
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      const auto bucket = std::ranges::upper_bound(bucket_ends, tile.position(i));
      const auto first = static_cast<std::size_t>(bucket - bucket_ends.begin()) * columns.count();
      const std::int64_t row = tile.first_row + i;
      count_row(sets, row, row - rows.segments[tile.segment].first_row, columns, marks,
                counts.data() + first);
    }
    const std::lock_guard lock(adding);  // integers: the order of addition does not matter
    for (std::size_t c = 0; c < size; ++c) total[c] += counts[c];
  });
  return total;
}

}  // namespace indexcache::cpu
