// SPDX-License-Identifier: Apache-2.0
// A layout cut into consecutive ranges of rows, so that a computation over many rows needs memory
// for only a few. Cuts are at multiples of 256 rows from the beginning of a segment: the tiles of
// every backend divide that, so cutting does not change a bit.
#pragma once

#include "backend/tensor.h"

#include <cstdint>
#include <vector>

namespace indexcache {

inline constexpr std::int64_t kChunkGrain = 256;

struct RowChunk {
  std::int64_t first_row;  // of the whole layout
  RowLayout rows;          // first_row counts from the beginning of the chunk

  // The chunk's rows of a tensor of the whole layout; empty if `whole` is.
  Tensor of(const Tensor& whole) const {
    return whole.empty() ? whole : whole.row_range(first_row, rows.total);
  }
};

// Chunks of at most `most_rows` rows, but at least kChunkGrain; a layout without rows has none.
std::vector<RowChunk> row_chunks(const RowLayout& layout, std::int64_t most_rows);

// Rows of the largest chunk, which need not be the first: scratch for all of them.
std::int64_t largest_rows(const std::vector<RowChunk>& chunks);

}  // namespace indexcache
