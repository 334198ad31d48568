// SPDX-License-Identifier: Apache-2.0
// Which blocks HISA may rank, for every backend. Blocks begin with a sequence, so that a row's
// result depends only on its own sequence.
//
// The first and the last block of a query are chosen whatever they score. All others are complete,
// so that only complete blocks need a mean, and no mean that is read contains a later token.
#pragma once

#include "backend/tensor.h"
#include "core/hisa.h"

namespace indexcache {

// The complete blocks of the keys of each sequence, as keys that represent all of their positions.
inline RowLayout complete_blocks(const RowLayout& keys, const Hisa& hisa) {
  RowLayout blocks;
  for (const Segment& segment : keys.segments) {
    blocks.append(segment.rows / hisa.block, 0, segment.positions_per_key * hisa.block);
  }
  return blocks;
}

// The rows of a segment of queries whose blocks are all chosen; they come first.
inline std::int64_t rows_taking_all(const Segment& rows, const Segment& keys, const Hisa& hisa) {
  std::int64_t low = 0, high = rows.rows;
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (hisa.takes_all(keys.candidates(rows.position(middle)))) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace indexcache
