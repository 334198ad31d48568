// SPDX-License-Identifier: Apache-2.0
// Tensors as Eigen matrices of any number type, and sums whose order depends only on their length.
// The bytes of a Tensor are taken for numbers of that type, whatever its dtype says.
#pragma once

#include "backend/tensor.h"

#include <Eigen/Core>

#include <algorithm>
#include <cstdint>

namespace indexcache::cpu {

template <typename Real>
using ViewOf = Eigen::Map<Eigen::Matrix<Real, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>,
                          Eigen::Unaligned, Eigen::OuterStride<>>;
template <typename Real>
using ArrayOf = Eigen::Map<Eigen::Array<Real, Eigen::Dynamic, 1>>;

template <typename Real>
Real* at(const Tensor& tensor, std::int64_t row) {
  return tensor.data<Real>() + row * tensor.stride();
}

template <typename Real>
ViewOf<Real> view(const Tensor& tensor, std::int64_t first_row, std::int64_t rows) {
  return {at<Real>(tensor, first_row), rows, tensor.cols(), Eigen::OuterStride<>(tensor.stride())};
}

// A matrix in thread-local memory that grows and is reused.
template <typename Real, typename Tag>
ViewOf<Real> scratch_of(std::int64_t rows, std::int64_t cols) {
  thread_local Eigen::Array<Real, Eigen::Dynamic, 1> memory;
  if (memory.size() < rows * cols) memory.resize(rows * cols);
  return {memory.data(), rows, cols, Eigen::OuterStride<>(cols)};
}

// Adds term(i) for i in [0, n) in sixteen interleaved sums, which a compiler turns into vectors.
template <typename Real, typename Term>
Real interleaved_sum(std::int64_t n, const Term& term) {
  constexpr std::int64_t kSums = 16;
  Real sums[kSums] = {};
  std::int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (std::int64_t s = 0; s < kSums; ++s) sums[s] += term(i + s);
  }
  for (std::int64_t half = kSums / 2; half > 0; half /= 2) {
    for (std::int64_t s = 0; s < half; ++s) sums[s] += sums[s + half];
  }
  for (; i < n; ++i) sums[0] += term(i);
  return sums[0];
}

template <typename Real>
Real sum_of(const Real* x, std::int64_t n) {
  return interleaved_sum<Real>(n, [x](std::int64_t i) { return x[i]; });
}

template <typename Real>
Real rectified_dot(const Real* x, const Real* y, std::int64_t n) {
  return interleaved_sum<Real>(n,
                               [x, y](std::int64_t i) { return std::max(x[i], Real(0)) * y[i]; });
}

// Of n >= 1 values.
template <typename Real>
Real largest(const Real* x, std::int64_t n) {
  return Eigen::Map<const Eigen::Array<Real, Eigen::Dynamic, 1>>(x, n).maxCoeff();
}

}  // namespace indexcache::cpu
