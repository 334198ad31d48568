// SPDX-License-Identifier: Apache-2.0
#include "backend/row_chunks.h"

#include <algorithm>

namespace indexcache {
namespace {

// Segment s of a chunk is sequence s, as in every layout; most are empty.
RowChunk empty_chunk(const RowLayout& layout, std::int64_t first_row) {
  RowChunk chunk{first_row, {}};
  for (const Segment& segment : layout.segments) {
    Segment& empty = chunk.rows.segments.emplace_back(segment);
    empty.first_row = empty.rows = 0;
  }
  return chunk;
}

}  // namespace

std::vector<RowChunk> row_chunks(const RowLayout& layout, std::int64_t most_rows) {
  const std::int64_t most = std::max(kChunkGrain, most_rows / kChunkGrain * kChunkGrain);
  std::vector<RowChunk> chunks;
  for (std::size_t s = 0; s < layout.segments.size(); ++s) {
    const Segment& segment = layout.segments[s];
    for (std::int64_t done = 0; done < segment.rows;) {
      if (chunks.empty() || chunks.back().rows.total >= most) {
        chunks.push_back(empty_chunk(layout, segment.first_row + done));
      }
      RowLayout& rows = chunks.back().rows;
      const std::int64_t room = (most - rows.total) / kChunkGrain * kChunkGrain;
      const std::int64_t rest = segment.rows - done;
      const std::int64_t count = std::min(rest, room);
      if (count == 0) {  // less than a grain is left: begin another chunk
        chunks.push_back(empty_chunk(layout, segment.first_row + done));
        continue;
      }
      rows.segments[s] = segment;
      rows.segments[s].first_row = rows.total;
      rows.segments[s].rows = count;
      rows.segments[s].first_position = segment.position(done);
      rows.total += count;
      done += count;
    }
  }
  return chunks;
}

std::int64_t largest_rows(const std::vector<RowChunk>& chunks) {
  std::int64_t rows = 0;
  for (const RowChunk& chunk : chunks) rows = std::max(rows, chunk.rows.total);
  return rows;
}

}  // namespace indexcache
