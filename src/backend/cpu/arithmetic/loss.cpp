// SPDX-License-Identifier: Apache-2.0
// Cross-entropy of the next token, and how its distribution differs from a reference's, in chunks
// of rows.
#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/arithmetic/matrix.h"
#include "backend/cpu/arithmetic/simd.h"
#include "backend/cpu/tiles.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace indexcache::cpu {
namespace {

constexpr std::int64_t kChunkRows = 64;

struct Logits;
struct ReferenceExponentials;

// logsumexp(logits) - logits[target], the maximum subtracted; overwrites logits with exponentials.
double negative_log_likelihood(float* logits, std::int64_t vocabulary, std::int32_t target) {
  ArrayMap row(logits, vocabulary);
  const float peak = max(logits, vocabulary);
  const double chosen = static_cast<double>(logits[target]) - static_cast<double>(peak);
  row = (row - peak).exp();
  return std::log(static_cast<double>(sum(logits, vocabulary))) - chosen;
}

using Doubles [[gnu::vector_size(64)]] = double;
constexpr std::int64_t kDoubles = 8;

inline Doubles load_widened(const float* p) {
  using Narrow [[gnu::vector_size(32)]] = float;
  Narrow v;
  std::memcpy(&v, p, sizeof(v));
  return __builtin_convertvector(v, Doubles);
}

inline double sum_of(Doubles v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

double widened_sum(const float* x, std::int64_t n) {
  Doubles total = {};
  std::int64_t i = 0;
  for (; i + kDoubles <= n; i += kDoubles) total += load_widened(x + i);
  double result = sum_of(total);
  for (; i < n; ++i) result += static_cast<double>(x[i]);
  return result;
}

// The sum of exponentials[i] * (logits[i] - peak). Never inlined, so that equal logits get equal
// bits from every caller.
[[gnu::noinline]] double weighted_sum(const float* exponentials, const float* logits, float peak,
                                      std::int64_t n) {
  const double shift = peak;
  Doubles total = {};
  std::int64_t i = 0;
  for (; i + kDoubles <= n; i += kDoubles) {
    total += load_widened(exponentials + i) * (load_widened(logits + i) - shift);
  }
  double result = sum_of(total);
  for (; i < n; ++i) {
    result += static_cast<double>(exponentials[i]) * (static_cast<double>(logits[i]) - shift);
  }
  return result;
}

// What a comparison needs of a row of the reference, in addition to its exponentials.
struct ReferenceRow {
  std::int64_t top;  // the most likely token, the lowest id among equals
  double mass;       // sum of the exponentials
  double weighted;   // weighted_sum of its own logits
};

std::int64_t first_of(float value, const float* x, std::int64_t n) {
  return std::find(x, x + n, value) - x;
}

ReferenceRow reference_row(const float* logits, std::int64_t vocabulary, float* exponentials) {
  const float peak = max(logits, vocabulary);
  const Eigen::Map<const Eigen::ArrayXf> row(logits, vocabulary);
  ArrayMap(exponentials, vocabulary) = (row - peak).exp();
  return {first_of(peak, logits, vocabulary), widened_sum(exponentials, vocabulary),
          weighted_sum(exponentials, logits, peak, vocabulary)};
}

// With r and x shifted by their maxima, KL = sum_v p_v (r_v - x_v) - log sum exp r + log sum exp x.
// The sums are float64 because the result is a small difference of them; equal rows cancel exactly.
// Overwrites logits.
void compare_row(const ReferenceRow& reference, const float* exponentials, float* logits,
                 std::int64_t vocabulary, std::int32_t target, std::size_t row,
                 TokenComparison& out) {
  const float peak = max(logits, vocabulary);
  const double weighted = weighted_sum(exponentials, logits, peak, vocabulary);
  out.same_top[row] = first_of(peak, logits, vocabulary) == reference.top ? 1 : 0;
  out.loss[row] = negative_log_likelihood(logits, vocabulary, target);
  const double mass = widened_sum(logits, vocabulary);
  const double kl =
      (reference.weighted - weighted) / reference.mass + std::log(mass / reference.mass);
  out.kl[row] = kl < 0 ? 0 : kl;  // rounding; not a NaN
}

// The rows of one tile of the reference and of all xs. Logits and exponentials are aligned alike,
// so that equal rows have equal exponentials.
void compare_tile(const Tile& tile, const Tensor& reference, std::span<const Tensor> xs,
                  const Tensor& lm_head, const std::int32_t* targets,
                  std::vector<TokenComparison>& results) {
  const std::int64_t vocabulary = lm_head.rows();
  auto logits = scratch<Logits>(tile.rows, vocabulary);
  auto exponentials = scratch<ReferenceExponentials>(tile.rows, vocabulary);
  std::vector<ReferenceRow> references(static_cast<std::size_t>(tile.rows));
  const auto project = [&](const Tensor& x) {
    logits.noalias() = block(x, tile.first_row, tile.rows) * whole(lm_head).transpose();
  };
  const auto for_each_row = [&](const auto& body) {
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      if (targets[tile.first_row + i] >= 0) body(i, references[static_cast<std::size_t>(i)]);
    }
  };
  project(reference);
  for_each_row([&](std::int64_t i, ReferenceRow& row) {
    row = reference_row(&logits(i, 0), vocabulary, &exponentials(i, 0));
  });
  for (std::size_t x = 0; x < xs.size(); ++x) {
    project(xs[x]);
    for_each_row([&](std::int64_t i, const ReferenceRow& row) {
      const std::int64_t at = tile.first_row + i;
      compare_row(row, &exponentials(i, 0), &logits(i, 0), vocabulary, targets[at],
                  static_cast<std::size_t>(at), results[x]);
    });
  }
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

std::vector<TokenComparison> compare_next_tokens(int threads, const RowLayout& rows,
                                                 const Tensor& reference,
                                                 std::span<const Tensor> xs, const Tensor& lm_head,
                                                 const Tensor& targets) {
  const auto count = static_cast<std::size_t>(rows.total);
  const TokenComparison skipped{std::vector<double>(count), std::vector<double>(count),
                                std::vector<std::uint8_t>(count)};
  std::vector<TokenComparison> results(xs.size(), skipped);
  if (xs.empty()) return results;
  for_each_tile(threads, rows, kChunkRows, [&](const Tile& tile) {
    compare_tile(tile, reference, xs, lm_head, targets.data<std::int32_t>(), results);
  });
  return results;
}

}  // namespace indexcache::cpu
