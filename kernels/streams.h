// SPDX-License-Identifier: Apache-2.0
// Residual streams: the residual of a row is n vectors of `width` numbers, one after the other.
//
// read_streams: with m = products / sqrt(mean(x^2) + norm_eps), x all n * width numbers of a row,
//   out = sum_k (sigmoid(scale[0] m[k] + base[k]) + eps) x_k
//   factors[k] = factor_scale * sigmoid(scale[1] m[n + k] + base[n + k]) + factor_eps
// write_streams: x_k += factors[k] y.
// float32; sums in an order that width and alignment decide. Bound by memory.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kMostStreams = 8;

struct ReadStreamsParams {
  const float* streams;  // [rows, n * width]
  std::int64_t stride;
  const float* products;  // [rows, 2 n], of the mixer with x; [rows, n] without factors
  const float* base;      // [2 n], or [n]
  const float* scale;     // [2], or [1]
  float norm_eps, eps, factor_scale, factor_eps;
  float* out;      // [rows, width], without gaps
  float* factors;  // [rows, n], without gaps, or null
  std::int64_t rows;
  int n;  // at most kMostStreams
  std::int64_t width;
};

cudaError_t read_streams(const ReadStreamsParams& params, cudaStream_t stream);

struct WriteStreamsParams {
  const float* y;        // [rows, width], without gaps
  const float* factors;  // [rows, n], without gaps
  float* streams;        // [rows, n * width]
  std::int64_t stride;
  std::int64_t rows;
  int n;
  std::int64_t width;
};

cudaError_t write_streams(const WriteStreamsParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
