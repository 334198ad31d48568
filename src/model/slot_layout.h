// SPDX-License-Identifier: Apache-2.0
// Where the tensors of a layer begin in a piece of device memory.
#pragma once

#include "backend/tensor.h"

#include <cstdint>
#include <memory>

namespace indexcache {

inline constexpr std::int64_t kTensorGrain = 256;  // bytes; tensors begin at multiples

inline std::int64_t rounded_bytes(std::int64_t rows, std::int64_t cols, DType dtype) {
  const std::int64_t bytes = rows * cols * static_cast<std::int64_t>(size_of(dtype));
  return (bytes + kTensorGrain - 1) / kTensorGrain * kTensorGrain;
}

// Counts the bytes that a layout allocates; the addresses of its tensors are never used.
class CountingAllocator {
 public:
  Tensor operator()(std::int64_t rows, std::int64_t cols, DType dtype) {
    bytes_ += rounded_bytes(rows, cols, dtype);
    return {nowhere_, rows, cols, dtype};
  }
  std::int64_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<void> nowhere_ = std::make_shared<char>();
  std::int64_t bytes_ = 0;
};

}  // namespace indexcache
