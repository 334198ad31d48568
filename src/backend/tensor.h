// SPDX-License-Identifier: Apache-2.0
// Matrices in a backend's memory, and which rows of them belong to which positions.
#pragma once

#include "backend/scale_blocks.h"
#include "core/dtype.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace indexcache {

// A row-major matrix, or a view of some of its columns. Copies share the storage. `data` is an
// address of the backend that allocated it: only that backend may follow it.
class Tensor {
 public:
  Tensor() = default;
  Tensor(std::shared_ptr<void> storage, std::int64_t rows, std::int64_t cols, DType dtype)
      : data_(storage.get()),
        storage_(std::move(storage)),
        rows_(rows),
        cols_(cols),
        stride_(cols),
        dtype_(dtype) {}

  bool empty() const { return data_ == nullptr; }
  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  std::int64_t stride() const { return stride_; }  // elements from one row to the next
  DType dtype() const { return dtype_; }
  // Of an FP8 matrix (f8_e4m3 without gaps): f32 [scale_blocks(rows), scale_blocks(cols)]. An
  // element is worth its E4M3 number times the scale of its block. Empty if there are none: views
  // other than row_range() have none.
  Tensor scales() const { return scales_ ? *scales_ : Tensor(); }

  template <typename T>
  T* data() const {
    return static_cast<T*>(data_);
  }

  // The same matrix with scales, which lie on the same device.
  Tensor with_scales(Tensor scales) const {
    Tensor scaled = *this;
    scaled.scales_ = std::make_shared<const Tensor>(std::move(scales));
    return scaled;
  }

  // Columns [first, first + count) of every row; shares the storage.
  Tensor columns(std::int64_t first, std::int64_t count) const {
    Tensor view = without_scales();
    view.data_ = static_cast<char*>(data_) + first * static_cast<std::int64_t>(size_of(dtype_));
    view.cols_ = count;
    return view;
  }

  // Rows [first, first + count); shares the storage. Of a matrix with scales, `first` is a multiple
  // of kScaleBlock.
  Tensor row_range(std::int64_t first, std::int64_t count) const {
    Tensor view = *this;
    const auto bytes = first * stride_ * static_cast<std::int64_t>(size_of(dtype_));
    view.data_ = static_cast<char*>(data_) + bytes;
    view.rows_ = count;
    if (scales_) {
      return view.with_scales(scales_->row_range(first / kScaleBlock, scale_blocks(count)));
    }
    return view;
  }

  // Another matrix at the same address, without gaps; shares the storage.
  Tensor as(std::int64_t rows, std::int64_t cols, DType dtype) const {
    Tensor view = without_scales();
    view.rows_ = rows;
    view.cols_ = view.stride_ = cols;
    view.dtype_ = dtype;
    return view;
  }

  // Rows 0, step, 2 * step, …; shares the storage.
  Tensor every(std::int64_t step) const {
    Tensor view = without_scales();
    view.rows_ = (rows_ + step - 1) / step;
    view.stride_ *= step;
    return view;
  }

 private:
  Tensor without_scales() const {
    Tensor plain = *this;
    plain.scales_.reset();
    return plain;
  }

  void* data_ = nullptr;
  std::shared_ptr<void> storage_;
  std::int64_t rows_ = 0;
  std::int64_t cols_ = 0;
  std::int64_t stride_ = 0;
  DType dtype_ = DType::f32;
  std::shared_ptr<const Tensor> scales_;
};

// One vector a head inside each row: head h is columns [h * stride, h * stride + width).
struct Heads {
  Tensor tensor;
  std::int64_t count;
  std::int64_t stride;
  std::int64_t width;
};

// The rows of a tensor as one head.
inline Heads one_head(const Tensor& tensor) {
  return {tensor, 1, tensor.cols(), tensor.cols()};
}

// Keys that a query at `position` sees, if each of them represents `positions_per_key` positions,
// from position 0 on: a key is seen from the last of its positions on.
constexpr std::int64_t candidates_at(std::int64_t position, std::int64_t positions_per_key) {
  return (position + 1) / positions_per_key;
}

// The first position that sees more than `count` such keys.
constexpr std::int64_t first_position_with_more(std::int64_t count,
                                                std::int64_t positions_per_key) {
  return (count + 1) * positions_per_key - 1;
}

// Positions of one sequence in the row dimension of tensors: consecutive, or every step-th. Row i
// is at position first_position + i * step.
struct Segment {
  std::int64_t first_row;
  std::int64_t rows;
  std::int64_t first_position;
  std::int64_t step = 1;
  // Of a segment of keys, which begins at position 0: the positions that one row represents. More
  // than one if keys are compressed; a row is at the first of its positions then.
  std::int64_t positions_per_key = 1;

  std::int64_t position(std::int64_t row) const { return first_position + row * step; }
  std::int64_t last_position() const { return position(rows - 1); }

  // Of a segment of keys: how many of its rows, from first_row on, are candidates of a query at
  // `position` of the same sequence.
  std::int64_t candidates(std::int64_t position) const {
    return candidates_at(position, positions_per_key);
  }

  bool operator==(const Segment&) const = default;
};

// Segment s of every layout of one sweep is sequence s; a segment may be empty.
struct RowLayout {
  std::vector<Segment> segments;
  std::int64_t total = 0;

  void append(std::int64_t rows, std::int64_t first_position, std::int64_t positions_per_key = 1) {
    segments.push_back({total, rows, first_position, positions_per_key, positions_per_key});
    total += rows;
  }
};

}  // namespace indexcache
