// SPDX-License-Identifier: Apache-2.0
// Cases of Backend::neighbor_counts: sets of ragged sequences that resemble their neighbors'.
#pragma once

#include "backend/backend.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

namespace indexcache::test {

struct NeighborCase {
  RowLayout rows;
  std::int64_t k = 0;
  std::vector<std::int32_t> sets;  // [rows, k], ascending
  std::vector<std::int64_t> distances, groups, bucket_ends;

  std::vector<std::int64_t> counts(Backend& backend) const {
    const Tensor tensor = backend.upload(std::span(sets), rows.total, k);
    return backend.neighbor_counts(rows, tensor, distances, groups, bucket_ends);
  }
};

// Sequences of `lengths` rows at every step-th position from `first` on, which is at least k.
inline NeighborCase neighbor_case(const std::vector<std::int64_t>& lengths, std::int64_t k,
                                  std::int64_t first, std::int64_t step = 1) {
  NeighborCase c;
  c.k = k;
  std::mt19937 engine(7);
  std::int64_t last = first;
  for (const std::int64_t length : lengths) {
    c.rows.segments.push_back({c.rows.total, length, first, step});
    c.rows.total += length;
    last = std::max(last, first + length * step);
    std::vector<std::int32_t> set;
    for (std::int32_t i = 0; i < k; ++i) set.push_back(i);
    for (std::int64_t row = 0; row < length; ++row) {
      // About an eighth of the set is replaced; the latest position of all is common.
      for (std::int64_t changes = k / 8 + 1; changes > 0; --changes) {
        const auto place = static_cast<std::size_t>(engine() % static_cast<std::uint32_t>(k));
        const std::int64_t position = first + row * step;
        const auto chosen = static_cast<std::int32_t>(
            changes == 1 ? position : static_cast<std::int64_t>(engine()) % (position + 1));
        if (std::ranges::find(set, chosen) == set.end()) set[place] = chosen;
      }
      std::vector<std::int32_t> ascending = set;
      std::ranges::sort(ascending);
      c.sets.insert(c.sets.end(), ascending.begin(), ascending.end());
    }
  }
  c.distances = {1, 16, 128};
  c.groups = {2, 4, 8};
  c.bucket_ends = {first + 5, first + (last - first) / 2 + 6, last + 6};
  return c;
}

}  // namespace indexcache::test
