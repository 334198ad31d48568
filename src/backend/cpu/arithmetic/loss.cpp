// SPDX-License-Identifier: Apache-2.0
// Cross-entropy of the next token in chunks of rows.
#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/arithmetic/matrix.h"
#include "backend/cpu/arithmetic/simd.h"
#include "backend/cpu/tiles.h"

#include <cmath>
#include <vector>

namespace indexcache::cpu {
namespace {

constexpr std::int64_t kChunkRows = 64;

struct Logits;

// logsumexp(logits) - logits[target], the maximum subtracted; overwrites logits.
double negative_log_likelihood(float* logits, std::int64_t vocabulary, std::int32_t target) {
  ArrayMap row(logits, vocabulary);
  const float peak = max(logits, vocabulary);
  const double chosen = static_cast<double>(logits[target]) - static_cast<double>(peak);
  row = (row - peak).exp();
  return std::log(static_cast<double>(sum(logits, vocabulary))) - chosen;
}

}  // namespace

std::vector<double> next_token_loss(int threads, const RowLayout& rows, const Tensor& x,
                                    const Tensor& lm_head, const Tensor& targets) {
  std::vector<double> row_losses(static_cast<std::size_t>(rows.total), 0.0);
  for_each_tile(threads, rows, kChunkRows, [&](const Tile& tile) {
    auto logits = scratch<Logits>(tile.rows, lm_head.rows());
    logits.noalias() = block(x, tile.first_row, tile.rows) * whole(lm_head).transpose();
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      const std::int64_t row = tile.first_row + i;
      const std::int32_t target = targets.data<std::int32_t>()[row];
      if (target < 0) continue;
      row_losses[static_cast<std::size_t>(row)] =
          negative_log_likelihood(&logits(i, 0), lm_head.rows(), target);
    }
  });
  std::vector<double> sums;
  for (const Segment& segment : rows.segments) {
    double sum = 0;
    for (std::int64_t row = 0; row < segment.rows; ++row) {
      sum += row_losses[static_cast<std::size_t>(segment.first_row + row)];
    }
    sums.push_back(sum);
  }
  return sums;
}

}  // namespace indexcache::cpu
