// SPDX-License-Identifier: Apache-2.0
// Decode over paged caches: a sequence's keys are gathered in the order of positions, and then meet
// the same code as in a prefill.
#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/arithmetic/index_scores.h"
#include "backend/cpu/arithmetic/pages.h"

#include <numeric>

namespace indexcache::cpu {
namespace {

struct GatheredKeys;
struct RoundedQueries;
struct RoundedWeights;
struct Rotated;

// Memory of a matrix as a tensor that does not own it.
Tensor borrowed(MatrixMap& matrix) {
  return {std::shared_ptr<void>(std::shared_ptr<void>(), matrix.data()), matrix.rows(),
          matrix.cols(), DType::f32};
}

const std::int32_t* table_of(const Tensor& tables, std::size_t sequence) {
  return tables.data<std::int32_t>() + static_cast<std::int64_t>(sequence) * tables.stride();
}

void write_position(const PagedCache& cache, const PagePlace& place, const float* x) {
  const PageFormat& format = cache.format;
  switch (format.layout) {
    case PageLayout::plain:
      std::memcpy(place.numbers, x, static_cast<std::size_t>(format.position_bytes()));
      break;
    case PageLayout::index_fp8: {
      auto rotated = scratch<Rotated>(1, format.width);
      const float scale = quantize_index(x, format.width, rotated.data(), place.numbers);
      std::memcpy(place.scales, &scale, sizeof scale);
      break;
    }
    case PageLayout::latent_fp8:
      write_latent(x, place);
      break;
  }
}

// The heads of a row as FP8 numbers, and their weights times their scales.
void round_query(const float* queries, const float* weights, std::int64_t heads, std::int64_t width,
                 float* numbers, float* scaled) {
  auto rotated = scratch<Rotated>(1, width);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(width));
  for (std::int64_t h = 0; h < heads; ++h) {
    const float scale = quantize_index(queries + h * width, width, rotated.data(), codes.data());
    scaled[h] = weights[h] * scale;
    for (std::int64_t i = 0; i < width; ++i) {
      numbers[h * width + i] = kE4m3[codes[static_cast<std::size_t>(i)]];
    }
  }
}

// Scores of one row over the first `count` positions.
void score_row(Precision indexer, const Tensor& queries, const Tensor& head_weights,
               std::int64_t row, const PagedCache& cache, const std::int32_t* table,
               std::int64_t count, MatrixMap& scores) {
  const std::int64_t heads = head_weights.cols(), width = cache.format.width;
  auto keys = scratch<GatheredKeys>(count, width);
  for (std::int64_t u = 0; u < count; ++u) {
    read_position(cache.format, place_of(cache, table, u), keys.data() + u * width);
  }
  if (cache.format.layout != PageLayout::index_fp8) {
    for (std::int64_t u = 0; u < count; ++u) round_index(indexer, width, keys.data() + u * width);
    const Tile tile{0, row, 1, count - 1, 1};
    return score_tile(tile, queries, head_weights, borrowed(keys), 0, count, scores);
  }
  auto numbers = scratch<RoundedQueries>(1, heads * width);
  auto scaled = scratch<RoundedWeights>(1, heads);
  round_query(row_of(queries, row), row_of(head_weights, row), heads, width, numbers.data(),
              scaled.data());
  score_tile({0, 0, 1, count - 1, 1}, borrowed(numbers), borrowed(scaled), borrowed(keys), 0, count,
             scores);
  for (std::int64_t u = 0; u < count; ++u) {
    scores.data()[u] *= scale_at(place_of(cache, table, u), 0);
  }
}

}  // namespace

void write_pages(int threads, const RowLayout& rows, const Tensor& x, const Tensor& tables,
                 const PagedCache& cache) {
  for_each_tile(threads, rows, kQueryRows, [&](const Tile& tile) {
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      write_position(cache, place_of(cache, table_of(tables, tile.segment), tile.position(i)),
                     row_of(x, tile.first_row + i));
    }
  });
}

void paged_topk(int threads, Precision indexer, const RowLayout& rows, const Tensor& queries,
                const Tensor& head_weights, const Tensor& tables, const PagedCache& cache,
                const Tensor& sets, SelectionTime& time) {
  for_each_tile(threads, rows, 1, [&](const Tile& tile) {
    SelectionClock clock(time);
    const std::int64_t count = tile.first_position + 1, k = std::min(sets.cols(), count);
    std::int32_t* set = sets.data<std::int32_t>() + tile.first_row * sets.stride();
    std::fill(set + k, set + sets.cols(), -1);
    if (k == count) return std::iota(set, set + k, 0);
    auto scores = scratch<Scores>(1, count);
    score_row(indexer, queries, head_weights, tile.first_row, cache, table_of(tables, tile.segment),
              count, scores);
    clock.scored();
    thread_local std::vector<std::uint32_t> workspace;
    select_top_k({scores.data(), static_cast<std::size_t>(count)}, k, workspace, set);
    clock.chose();
  });
}

void paged_attention(int threads, const RowLayout& rows, const Heads& queries, const Tensor& tables,
                     const PagedCache& cache, const Tensor& sets, float scale, const Heads& out,
                     const Tensor& sinks) {
  for_each_tile(threads, rows, 1, [&](const Tile& tile) {
    const std::int64_t row = tile.first_row, width = cache.format.width;
    const std::int64_t count = std::min(sets.cols(), tile.first_position + 1);
    const std::int32_t* set = sets.data<std::int32_t>() + row * sets.stride();
    auto gathered = scratch<GatheredKeys>(count, width);
    for (std::int64_t i = 0; i < count; ++i) {
      read_position(cache.format, place_of(cache, table_of(tables, tile.segment), set[i]),
                    gathered.data() + i * width);
    }
    const auto one_row = [row](const Heads& heads) {
      return Heads{heads.tensor.row_range(row, 1), heads.count, heads.stride, heads.width};
    };
    // The gathered keys are all candidates of a row at position count - 1.
    RowLayout query_rows, key_rows;
    query_rows.append(1, count - 1);
    key_rows.append(count, 0);
    const Tensor keys = borrowed(gathered);
    sparse_attention(1, query_rows, one_row(queries), key_rows, keys, keys.columns(0, out.width),
                     Tensor(), scale, one_row(out), sinks);
  });
}

}  // namespace indexcache::cpu
