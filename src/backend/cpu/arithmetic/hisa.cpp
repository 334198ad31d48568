// SPDX-License-Identifier: Apache-2.0
// HISA: the lightning indexer among the keys of the best blocks, a query at a time.
#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/arithmetic/index_scores.h"
#include "backend/cpu/arithmetic/round_index.h"
#include "backend/hisa_layout.h"

#include <cmath>
#include <limits>
#include <vector>

namespace indexcache::cpu {
namespace {

constexpr float kAlways = std::numeric_limits<float>::infinity();

// What a thread reuses from query to query.
struct Workspace {
  std::vector<float> blocks, candidates;
  std::vector<std::int32_t> chosen;
  std::vector<std::uint32_t> top_k;
};

// Means of blocks, a tile at a time; keys are added in ascending order.
void pool(int threads, const RowLayout& blocks, const RowLayout& key_rows, const Tensor& keys,
          std::int64_t size, const Tensor& means) {
  for_each_tile(threads, blocks, kKeyRows, [&](const Tile& tile) {
    const std::int64_t first_block = tile.first_row - blocks.segments[tile.segment].first_row;
    const std::int64_t first_key = key_rows.segments[tile.segment].first_row + first_block * size;
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      auto mean = block(means, tile.first_row + i, 1);
      mean.setZero();
      for (std::int64_t u = 0; u < size; ++u) mean += block(keys, first_key + i * size + u, 1);
      mean /= static_cast<float>(size);
    }
  });
}

// A query, and where its scores are computed.
struct Query {
  const Tensor& queries;
  const Tensor& head_weights;
  std::int64_t row;

  // scores[u] of keys [first, first + count).
  void score(const Tensor& keys, std::int64_t first, std::int64_t count, float* scores) const {
    const std::int64_t heads = head_weights.cols();
    const MatrixMap all_heads(row_of(queries, row), heads, keys.cols(),
                              Eigen::OuterStride<>(keys.cols()));
    auto products = scratch<Products>(heads, count);
    products.noalias() = all_heads * block(keys, first, count).transpose();
    combine_heads(products, row_of(head_weights, row), heads, 0, count, scores);
  }
};

// The blocks of a query that sees `seen` complete ones of `count`, ascending. Ranks are those of
// scores in bf16; the lower block is first among equals.
void choose_blocks(const Query& query, const Tensor& means, std::int64_t first_mean,
                   std::int64_t seen, std::int64_t count, std::int64_t wanted, Workspace& work) {
  work.blocks.assign(static_cast<std::size_t>(count), 0.0f);
  query.score(means, first_mean, seen, work.blocks.data());
  for (float& score : work.blocks) score = rounded_to_bf16(score);
  work.blocks.front() = work.blocks.back() = kAlways;
  work.chosen.resize(static_cast<std::size_t>(wanted));
  select_top_k(work.blocks, wanted, work.top_k, work.chosen.data());
}

// The k best of `candidates` keys from row `first_key` on, among those of the chosen blocks.
void choose_keys(const Query& query, const Tensor& keys, std::int64_t first_key,
                 std::int64_t candidates, const Hisa& hisa, std::int64_t k, std::int32_t* out,
                 Workspace& work, SelectionClock& clock) {
  work.candidates.resize(static_cast<std::size_t>(hisa.keys_of(candidates)));
  float* scores = work.candidates.data();
  for (const std::int32_t chosen : work.chosen) {
    const std::int64_t first = chosen * hisa.block;
    const std::int64_t count = std::min(hisa.block, candidates - first);
    query.score(keys, first_key + first, count, scores);
    scores += count;
  }
  clock.scored();
  select_top_k(work.candidates, k, work.top_k, out);
  for (std::int64_t i = 0; i < k; ++i) {
    const std::int64_t slot = out[i] / hisa.block;
    out[i] += static_cast<std::int32_t>((work.chosen[static_cast<std::size_t>(slot)] - slot) *
                                        hisa.block);
  }
  clock.chose();
}

}  // namespace

void hisa_topk(int threads, const RowLayout& rows, const Tensor& queries,
               const Tensor& head_weights, const RowLayout& key_rows, const Tensor& keys,
               const Hisa& hisa, const Tensor& sets, const Tensor& means, SelectionTime& time) {
  const RowLayout blocks = complete_blocks(key_rows, hisa);
  pool(threads, blocks, key_rows, keys, hisa.block, means);
  for_each_tile(threads, rows, kQueryRows, [&](const Tile& tile) {
    const Segment& key_segment = key_rows.segments[tile.segment];
    const Segment& block_segment = blocks.segments[tile.segment];
    const Segment of_tile{tile.first_row, tile.rows, tile.first_position, tile.step};
    const std::int64_t exact = rows_taking_all(of_tile, key_segment, hisa);
    SelectionClock clock(time);
    if (exact > 0) {
      select_first(tile, exact, queries, head_weights, key_segment, keys, sets, clock);
    }
    thread_local Workspace work;
    for (std::int64_t i = exact; i < tile.rows; ++i) {
      const Query query{queries, head_weights, tile.first_row + i};
      const std::int64_t candidates = key_segment.candidates(tile.position(i));
      choose_blocks(query, means, block_segment.first_row,
                    block_segment.candidates(tile.position(i)), hisa.blocks_of(candidates),
                    hisa.blocks, work);
      choose_keys(query, keys, key_segment.first_row, candidates, hisa, sets.cols(),
                  sets.data<std::int32_t>() + query.row * sets.stride(), work, clock);
    }
  });
}

}  // namespace indexcache::cpu
