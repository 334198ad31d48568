// SPDX-License-Identifier: Apache-2.0
// Attention over selected candidates. All heads read the same key and value row, so a row fetched
// from memory serves four of them at once.
#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/arithmetic/matrix.h"
#include "backend/cpu/arithmetic/simd.h"
#include "backend/cpu/tiles.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace indexcache::cpu {

namespace {

constexpr std::int64_t kQueryRows = 32;

struct Probabilities;

// Rows that one query attends to, in ascending order.
struct SelectedRows {
  const float* keys = nullptr;  // row of candidate 0
  const float* values = nullptr;
  std::int64_t key_stride = 0;
  std::int64_t value_stride = 0;
  const std::int32_t* set = nullptr;  // null: candidates 0 .. count - 1
  std::int64_t count = 0;

  std::int64_t candidate(std::int64_t i) const { return set == nullptr ? i : set[i]; }
  const float* key(std::int64_t i) const { return keys + candidate(i) * key_stride; }
  const float* value(std::int64_t i) const { return values + candidate(i) * value_stride; }
};

// All that one query attends to: rows of a window, if there is one, then those that are selected.
struct Selection {
  SelectedRows window, rest;
  std::int64_t count = window.count + rest.count;

  const float* key(std::int64_t i) const {
    return i < window.count ? window.key(i) : rest.key(i - window.count);
  }
  const float* value(std::int64_t i) const {
    return i < window.count ? window.value(i) : rest.value(i - window.count);
  }
};

// scores[h][i] = scale * queries_h . key_i for kHeads heads at a time.
template <int kHeads>
void score_heads(const Selection& keys, const float* queries, std::int64_t head_stride,
                 std::int64_t width, float scale, float* scores, std::int64_t score_stride) {
  for (std::int64_t i = 0; i < keys.count; ++i) {
    const float* row = keys.key(i);
    Lanes total[kHeads] = {};
    std::int64_t d = 0;
    for (; d + kLanes <= width; d += kLanes) {
      const Lanes key = load(row + d);
      for (int h = 0; h < kHeads; ++h) total[h] += key * load(queries + h * head_stride + d);
    }
    for (int h = 0; h < kHeads; ++h) {
      float score = sum(total[h]);
      for (std::int64_t e = d; e < width; ++e) score += row[e] * queries[h * head_stride + e];
      scores[h * score_stride + i] = scale * score;
    }
  }
}

// `sink`: a logit that takes its share and has no value; null if there is none.
void softmax(float* scores, std::int64_t count, const float* sink) {
  float peak = max(scores, count);
  if (sink != nullptr) peak = std::max(peak, *sink);
  ArrayMap row(scores, count);
  row = (row - peak).exp();
  float total = sum(scores, count);
  if (sink != nullptr) total += std::exp(*sink - peak);
  const float factor = 1.0f / total;
  for (std::int64_t i = 0; i < count; ++i) scores[i] *= factor;
}

// out_h[d .. d + 16 * kVectors) = sum_i probability[h][i] * value_i, candidates in ascending order.
template <int kHeads, int kVectors>
void mix_columns(const Selection& keys, const float* probabilities, std::int64_t stride,
                 std::int64_t d, float* out, std::int64_t head_stride) {
  Lanes total[kHeads][kVectors] = {};
  for (std::int64_t i = 0; i < keys.count; ++i) {
    const float* row = keys.value(i) + d;
    for (int v = 0; v < kVectors; ++v) {
      const Lanes value = load(row + v * kLanes);
      for (int h = 0; h < kHeads; ++h) total[h][v] += probabilities[h * stride + i] * value;
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVectors; ++v) {
      store(out + h * head_stride + d + v * kLanes, total[h][v]);
    }
  }
}

template <int kHeads>
void mix_heads(const Selection& keys, const float* probabilities, std::int64_t stride,
               std::int64_t width, float* out, std::int64_t head_stride) {
  std::int64_t d = 0;
  for (; d + 2 * kLanes <= width; d += 2 * kLanes) {
    mix_columns<kHeads, 2>(keys, probabilities, stride, d, out, head_stride);
  }
  for (; d + kLanes <= width; d += kLanes) {
    mix_columns<kHeads, 1>(keys, probabilities, stride, d, out, head_stride);
  }
  for (; d < width; ++d) {
    for (int h = 0; h < kHeads; ++h) {
      float total = 0;
      for (std::int64_t i = 0; i < keys.count; ++i) {
        total += probabilities[h * stride + i] * keys.value(i)[d];
      }
      out[h * head_stride + d] = total;
    }
  }
}

template <int kHeads>
void attend(const Selection& keys, const float* queries, const Heads& query_heads, float scale,
            const float* sinks, float* out, const Heads& out_heads) {
  auto scores = scratch<Probabilities>(kHeads, keys.count);
  score_heads<kHeads>(keys, queries, query_heads.stride, query_heads.width, scale, scores.data(),
                      keys.count);
  for (int h = 0; h < kHeads; ++h) {
    softmax(scores.data() + h * keys.count, keys.count, sinks == nullptr ? nullptr : sinks + h);
  }
  mix_heads<kHeads>(keys, scores.data(), keys.count, out_heads.width, out, out_heads.stride);
}

// All heads of one query.
void attend_row(const Selection& selection, std::int64_t row, const Heads& queries, float scale,
                const Tensor& sinks, const Heads& out) {
  const auto sinks_from = [&](std::int64_t head) {
    return sinks.empty() ? nullptr : sinks.data<float>() + head;
  };
  std::int64_t head = 0;
  const float* q = row_of(queries.tensor, row);
  float* z = row_of(out.tensor, row);
  for (; head + 4 <= queries.count; head += 4) {
    attend<4>(selection, q + head * queries.stride, queries, scale, sinks_from(head),
              z + head * out.stride, out);
  }
  for (; head < queries.count; ++head) {
    attend<1>(selection, q + head * queries.stride, queries, scale, sinks_from(head),
              z + head * out.stride, out);
  }
}

// The candidates of a query at `position` that are in its row of `sets`, or all of them.
SelectedRows selected_rows(const Segment& key_segment, const Tensor& keys, const Tensor& values,
                           const Tensor& sets, std::int64_t row, std::int64_t position) {
  SelectedRows selected{row_of(keys, key_segment.first_row),
                        row_of(values, key_segment.first_row),
                        keys.stride(),
                        values.stride(),
                        nullptr,
                        key_segment.candidates(position)};
  if (!sets.empty()) {
    selected.set = sets.data<std::int32_t>() + row * sets.stride();
    selected.count = sets.cols();
  }
  return selected;
}

}  // namespace

void window_attention(int threads, const RowLayout& rows, const Heads& queries,
                      const WindowKeys& keys, float scale, const Heads& out, const Tensor& sinks) {
  for_each_tile(threads, rows, kQueryRows, [&](const Tile& tile) {
    const Segment& key_segment = keys.rows.segments[tile.segment];
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      const std::int64_t row = tile.first_row + i, position = tile.position(i);
      const std::int64_t first = std::max<std::int64_t>(position + 1 - keys.window, 0);
      const float* window = row_of(keys.keys, key_segment.first_row + first);
      const std::int64_t stride = keys.keys.stride();
      const SelectedRows recent{window, window, stride, stride, nullptr, position + 1 - first};
      SelectedRows entries;
      if (!keys.entries.empty()) {
        entries = selected_rows(keys.entry_rows.segments[tile.segment], keys.entries, keys.entries,
                                keys.sets, row, position);
      }
      attend_row({recent, entries}, row, queries, scale, sinks, out);
    }
  });
}

void sparse_attention(int threads, const RowLayout& rows, const Heads& queries,
                      const RowLayout& key_rows, const Tensor& keys, const Tensor& values,
                      const Tensor& sets, float scale, const Heads& out, const Tensor& sinks) {
  for_each_tile(threads, rows, kQueryRows, [&](const Tile& tile) {
    const Segment& key_segment = key_rows.segments[tile.segment];
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      const std::int64_t row = tile.first_row + i;
      attend_row({{}, selected_rows(key_segment, keys, values, sets, row, tile.position(i))}, row,
                 queries, scale, sinks, out);
    }
  });
}

}  // namespace indexcache::cpu
