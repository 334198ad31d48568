// SPDX-License-Identifier: Apache-2.0
// Gated pooling of consecutive positions into entries.
#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/arithmetic/matrix.h"
#include "backend/cpu/tiles.h"

#include <algorithm>
#include <cmath>

namespace indexcache::cpu {
namespace {

constexpr std::int64_t kEntryRows = 64;

struct Pooled;

// The positions that one entry is pooled from, and which columns of theirs.
struct Slots {
  const Tensor& x;
  const Tensor& bias;
  std::int64_t first_row;  // of the entry's own positions
  std::int64_t width;      // columns of an entry
  bool before;             // whether the positions before them take part

  // Calls visit(values, gates, bias) of every slot, in the order of positions.
  template <typename Visit>
  void for_each(const Visit& visit) const {
    const std::int64_t ratio = bias.rows(), n = bias.cols();
    for (std::int64_t i = before ? -ratio : 0; i < ratio; ++i) {
      const std::int64_t column = i >= 0 && n > width ? width : 0;
      const float* row = row_of(x, first_row + i);
      visit(row + column, row + n + column, row_of(bias, i < 0 ? i + ratio : i) + column);
    }
  }
};

// Plain loops: the address of a row must not decide which elements are vectorized.
void pool(const Slots& slots, float* out) {
  const std::int64_t width = slots.width;
  auto scratch_rows = scratch<Pooled>(2, width);
  float *peaks = &scratch_rows(0, 0), *sums = &scratch_rows(1, 0);
  std::fill_n(peaks, width, -INFINITY);
  std::fill_n(sums, width, 0.0f);
  std::fill_n(out, width, 0.0f);
  slots.for_each([&](const float*, const float* gates, const float* bias) {
    for (std::int64_t c = 0; c < width; ++c) peaks[c] = std::max(peaks[c], gates[c] + bias[c]);
  });
  slots.for_each([&](const float* values, const float* gates, const float* bias) {
    for (std::int64_t c = 0; c < width; ++c) {
      const float weight = std::exp(gates[c] + bias[c] - peaks[c]);
      sums[c] += weight;
      out[c] += weight * values[c];
    }
  });
  for (std::int64_t c = 0; c < width; ++c) out[c] /= sums[c];
}

}  // namespace

void pool_entries(int threads, const RowLayout& rows, const Tensor& x, const Tensor& bias,
                  const RowLayout& entry_rows, const Tensor& out) {
  const bool overlap = bias.cols() > out.cols();
  for_each_tile(threads, entry_rows, kEntryRows, [&](const Tile& tile) {
    const Segment& segment = rows.segments[tile.segment];
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      const std::int64_t position = tile.position(i);
      pool({x, bias, segment.first_row + position, out.cols(), overlap && position > 0},
           row_of(out, tile.first_row + i));
    }
  });
}

}  // namespace indexcache::cpu
