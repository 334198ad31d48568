// SPDX-License-Identifier: Apache-2.0
// Residual streams: the residual of a row is n vectors of `width` numbers, one after the other.
//
// read_streams: with m = products / sqrt(mean(x^2) + norm_eps), x all n * width numbers of a row,
//   out = sum_k (sigmoid(scale[0] m[k] + base[k]) + eps) x_k
//   factors[k] = factor_scale * sigmoid(scale[1] m[n + k] + base[n + k]) + factor_eps
// and with mixing the matrix C [n, n] after the factors: softmax over each row of scale[2] m + base
// of the other products, + eps; then columns are divided by (their sum + eps), and mixing_rounds -
// 1 times rows, then columns.
// write_streams: x_k becomes factors[k] y + x_k, or with mixing factors[k] y + sum_j C[j, k] x_j.
// float32; sums in an order that width and alignment decide. Bound by memory.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kMostStreams = 8;

// Numbers that a row is written with.
__host__ __device__ constexpr int stream_coefficients(int n, bool mixes) {
  return mixes ? n * (1 + n) : n;
}

struct ReadStreamsParams {
  const float* streams;  // [rows, n * width]
  std::int64_t stride;
  // [rows, n + coefficients], of the mixer with x; [rows, n] without factors
  const float* products;
  const float* squares;  // [rows] sums over all numbers of a row, or null
  const float* base;     // [n + coefficients], or [n]
  const float* scale;    // [3] with mixing, [2], or [1] without factors
  float norm_eps, eps, factor_scale, factor_eps;
  int mixing_rounds;  // 0: no mixing
  float* out;         // [rows, width], without gaps
  float* factors;     // [rows, coefficients], without gaps, or null
  std::int64_t rows;
  int n;  // at most kMostStreams
  std::int64_t width;
};

cudaError_t read_streams(const ReadStreamsParams& params, cudaStream_t stream);

struct WriteStreamsParams {
  const float* y;        // [rows, width], without gaps
  const float* factors;  // [rows, stream_coefficients()], without gaps
  bool mixes;            // whether a matrix comes after the factors
  float* streams;        // [rows, n * width]
  std::int64_t stride;
  std::int64_t rows;
  int n;  // at most kMostStreams
  std::int64_t width;
};

cudaError_t write_streams(const WriteStreamsParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
