// SPDX-License-Identifier: Apache-2.0
// Products of long float32 rows with a few columns, which the coefficients of residual streams are
// made of (streams.h), and the sums of squares that norm them, in one reading of the rows:
//   products[row, c] = sum_d x[row, d] mixer[c, d],   squares[row] = sum_d x[row, d]^2
// float32, in an order that the depth decides; a row's bits depend on nothing else in the launch.
//
// Limit: reading x once. A product library takes ten times as long, because 24 columns fill a small
// part of its tiles. For 24 columns the multiply-adds take 85% of what reading does on an H200.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kMostStreamProducts = 24;

struct StreamProductsParams {
  const float* x;       // [rows, stride], 16-byte aligned
  std::int64_t stride;  // a multiple of 4
  const float* mixer;   // [columns, depth] without gaps, 16-byte aligned
  float* products;      // [rows, columns] without gaps
  float* squares;       // [rows]
  std::int64_t rows;
  int columns;  // at most kMostStreamProducts
  int depth;    // a multiple of 4
};

bool stream_products_apply(const StreamProductsParams& params);
cudaError_t stream_products(const StreamProductsParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
