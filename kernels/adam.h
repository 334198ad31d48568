// SPDX-License-Identifier: Apache-2.0
// What an optimizer does to [rows, n] parameters of independent problems, float32:
//   squared_norms   norms[r] = sum over i of gradients[r, i]^2, in float64: parts of kNormPart
//                   elements each, which are added in ascending order; a row depends on n alone
//   adam            g = scales[r] * gradients[r, i]
//                   mean = beta1 * mean + (1 - beta1) * g
//                   variance = beta2 * variance + (1 - beta2) * g^2
//                   parameters -= rate * (mean / mean_correction)
//                                 / (sqrt(variance / variance_correction) + epsilon)
//   add             out += x
// Bound by memory.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr std::int64_t kNormPart = 8192;

struct SquaredNormsParams {
  const float* x;  // [rows, n]
  std::int64_t stride;
  std::int64_t rows, n;
  double* parts;  // [rows, ceil(n / kNormPart)] scratch
  double* norms;  // [rows]
};

cudaError_t squared_norms(const SquaredNormsParams& params, cudaStream_t stream);

struct AdamParams {
  const float* gradients;  // [rows, n], as the others
  float* mean;
  float* variance;
  float* parameters;
  const float* scales;  // [rows]
  std::int64_t rows, n;
  float rate, beta1, beta2, epsilon;
  float mean_correction, variance_correction;  // 1 - beta^step
};

cudaError_t adam(const AdamParams& params, cudaStream_t stream);

struct AddParams {
  const float* x;  // [rows, cols]
  std::int64_t x_stride;
  float* out;  // [rows, cols]
  std::int64_t out_stride;
  std::int64_t rows, cols;
};

cudaError_t add(const AddParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
