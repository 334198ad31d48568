// SPDX-License-Identifier: Apache-2.0
// Parallel loops over fixed tiles of rows. A tile never crosses a segment and is cut at the same
// positions whatever else is in the batch: with it, every shape that reaches a matrix product, and
// so every bit, is a property of the sequence alone. The number of threads decides only who
// computes a tile.
#pragma once

#include "backend/tensor.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace indexcache::cpu {

struct Tile {
  std::size_t segment;     // index in the layout
  std::int64_t first_row;  // in the tensor
  std::int64_t rows;
  std::int64_t first_position;  // in the sequence
  std::int64_t step;            // from one row's position to the next

  std::int64_t position(std::int64_t row) const { return first_position + row * step; }
  std::int64_t last_position() const { return position(rows - 1); }
};

inline std::vector<Tile> tiles_of(const RowLayout& layout, std::int64_t tile_rows) {
  std::vector<Tile> tiles;
  for (std::size_t s = 0; s < layout.segments.size(); ++s) {
    const Segment& segment = layout.segments[s];
    for (std::int64_t row = 0; row < segment.rows; row += tile_rows) {
      tiles.push_back({s, segment.first_row + row, std::min(tile_rows, segment.rows - row),
                       segment.position(row), segment.step});
    }
  }
  return tiles;
}

// The only parallel loop of the CPU backend; `threads` is that of the backend.
template <typename Body>
void for_each_tile(int threads, const RowLayout& layout, std::int64_t tile_rows, const Body& body) {
  const std::vector<Tile> tiles = tiles_of(layout, tile_rows);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (std::size_t i = 0; i < tiles.size(); ++i) body(tiles[i]);
}

}  // namespace indexcache::cpu
