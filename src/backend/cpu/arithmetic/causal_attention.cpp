// SPDX-License-Identifier: Apache-2.0
// Attention over all candidates, every head with keys and values of its own: blocks of keys from
// the first one on, and a softmax that runs along with them.
#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/arithmetic/matrix.h"
#include "backend/cpu/arithmetic/simd.h"
#include "backend/cpu/tiles.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace indexcache::cpu {
namespace {

constexpr std::int64_t kQueryRows = 32;
constexpr std::int64_t kKeyRows = 256;

struct Weights;

// The rows of one head.
Tensor of_head(const Heads& heads, std::int64_t head) {
  return heads.tensor.columns(head * heads.stride, heads.width);
}

// What a query knows of the keys so far: the largest score, and the sum of exponentials relative to
// it.
struct RunningSoftmax {
  float peak, sum;

  // Replaces the scores of candidates by exponentials and those of the others by 0. Returns what
  // earlier results are to be multiplied by.
  float update(float* scores, std::int64_t candidates, std::int64_t count) {
    std::fill(scores + candidates, scores + count, 0.0f);
    if (candidates == 0) return 1;
    const float top = std::max(peak, max(scores, candidates));
    ArrayMap row(scores, candidates);
    row = (row - top).exp();
    const float shrink = std::exp(peak - top);
    sum = sum * shrink + cpu::sum(scores, candidates);
    peak = top;
    return shrink;
  }
};

// One head of a tile of queries.
void attend(const Tile& tile, const Tensor& queries, const Segment& key_segment, const Tensor& nope,
            const Tensor& rope, const Tensor& values, float scale, const float* sink,
            const Tensor& out) {
  const auto own = block(queries.columns(0, nope.cols()), tile.first_row, tile.rows);
  const auto rotated = block(queries.columns(nope.cols(), rope.cols()), tile.first_row, tile.rows);
  auto result = block(out, tile.first_row, tile.rows);
  result.setZero();
  RunningSoftmax softmax[kQueryRows];
  for (RunningSoftmax& row : softmax) {
    row = sink == nullptr ? RunningSoftmax{-std::numeric_limits<float>::infinity(), 0}
                          : RunningSoftmax{*sink, 1};
  }
  const std::int64_t seen = key_segment.candidates(tile.last_position());
  for (std::int64_t first = 0; first < seen; first += kKeyRows) {
    const std::int64_t count = std::min(kKeyRows, seen - first);
    const std::int64_t key_row = key_segment.first_row + first;
    auto weights = scratch<Weights>(tile.rows, count);
    weights.noalias() = own * block(nope, key_row, count).transpose();
    weights.noalias() += rotated * block(rope, key_row, count).transpose();
    weights *= scale;
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      const std::int64_t candidates = key_segment.candidates(tile.position(i)) - first;
      result.row(i) *=
          softmax[i].update(&weights(i, 0), std::clamp<std::int64_t>(candidates, 0, count), count);
    }
    result.noalias() += weights * block(values, key_row, count);
  }
  for (std::int64_t i = 0; i < tile.rows; ++i) result.row(i) *= 1.0f / softmax[i].sum;
}

}  // namespace

void causal_attention(int threads, const RowLayout& rows, const Heads& queries,
                      const RowLayout& key_rows, const ExpandedKeys& keys, float scale,
                      const Heads& out, const Tensor& sinks) {
  for_each_tile(threads, rows, kQueryRows, [&](const Tile& tile) {
    for (std::int64_t head = 0; head < queries.count; ++head) {
      attend(tile, of_head(queries, head), key_rows.segments[tile.segment],
             of_head(keys.nope, head), keys.rope, of_head(keys.values, head), scale,
             sinks.empty() ? nullptr : sinks.data<float>() + head, of_head(out, head));
    }
  });
}

}  // namespace indexcache::cpu
