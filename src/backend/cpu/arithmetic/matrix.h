// SPDX-License-Identifier: Apache-2.0
// Tensors of the CPU backend as Eigen matrices.
#pragma once

#include "backend/tensor.h"

#include <Eigen/Core>

namespace indexcache::cpu {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using MatrixMap = Eigen::Map<Matrix, Eigen::Unaligned, Eigen::OuterStride<>>;
using ArrayMap = Eigen::Map<Eigen::ArrayXf>;

inline float* row_of(const Tensor& tensor, std::int64_t row) {
  return tensor.data<float>() + row * tensor.stride();
}

inline MatrixMap block(const Tensor& tensor, std::int64_t first_row, std::int64_t rows) {
  return {row_of(tensor, first_row), rows, tensor.cols(), Eigen::OuterStride<>(tensor.stride())};
}

inline MatrixMap whole(const Tensor& tensor) {
  return block(tensor, 0, tensor.rows());
}

// A matrix in thread-local memory that grows and is reused: no allocation in the hot loops.
template <typename Tag>
MatrixMap scratch(std::int64_t rows, std::int64_t cols) {
  thread_local Eigen::ArrayXf memory;  // aligned for the widest vectors
  if (memory.size() < rows * cols) memory.resize(rows * cols);
  return {memory.data(), rows, cols, Eigen::OuterStride<>(cols)};
}

// The first half of the columns; shares the memory.
inline MatrixMap left_half(MatrixMap& matrix) {
  return {matrix.data(), matrix.rows(), matrix.cols() / 2,
          Eigen::OuterStride<>(matrix.outerStride())};
}

// In place: gate = silu(gate) * up, both [rows, I], the two halves of one [rows, 2 I] matrix, after
// both are clamped to `limit` (backend.h).
void swiglu(MatrixMap& gate_up, float limit);

}  // namespace indexcache::cpu
