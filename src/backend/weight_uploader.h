// SPDX-License-Identifier: Apache-2.0
// Moves stored weights from host memory to a device while the device does other work.
#pragma once

#include "backend/tensor.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace indexcache {

// A matrix as a checkpoint stores it, row-major, inside a blob: the stored bytes of a layer in host
// memory. FP8 (E4M3) and FP4 (E2M1, two columns in a byte of i8) have one float32 scale per block,
// [ceil(rows / block_rows), ceil(cols / block_cols)] of them; other types have none.
struct StoredMatrix {
  DType dtype = DType::f32;  // f32, bf16, f16, f8_e4m3, i8, or i64 of a table
  std::int64_t rows = 0, cols = 0;
  std::int64_t at = 0;              // offset in the blob, a multiple of kBlobGrain
  std::int64_t scales_at = -1;      // offset in the blob, before `at`; -1: no scales
  DType scales_dtype = DType::f32;  // or f8_e8m0
  std::int64_t block_rows = 0, block_cols = 0;

  std::int64_t begin() const { return scales_at < 0 ? at : scales_at; }
  std::int64_t row_bytes() const {
    return dtype == DType::i8 ? cols / 2 : cols * static_cast<std::int64_t>(size_of(dtype));
  }
  std::int64_t end() const { return at + rows * row_bytes(); }
};

inline constexpr std::int64_t kBlobGrain = 256;

// Some rows of every head: rows [first, first + count) of each group of `rows` rows, as stored or
// transposed per head. A matrix without heads is one head with all rows.
struct HeadRows {
  std::int64_t rows, first, count;
  bool transposed;
};

// One matrix, converted: out = stored * scale, rounded once. `out` is f32 or the backend's
// activation(), without gaps: [heads * count, cols], transposed [heads * cols, count]. If `out` is
// f8_e4m3 with scales, `from` has the same type and blocks, its rows are one head, and both numbers
// and scales are copied as they are. If it is i32, `from` is a table of i64 below `limit`.
struct WeightCopy {
  StoredMatrix from;
  HeadRows heads;
  Tensor out;
  std::int64_t limit = 0;
};

// Used by one thread at a time, not necessarily the one that computes.
class WeightUploader {
 public:
  virtual ~WeightUploader() = default;

  // Whatever is loaded after this call waits for the work that was queued before `mark`
  // (Device::mark).
  virtual void begin(const std::shared_ptr<void>& mark) = 0;

  // Queues copies, which are in ascending order of their offsets. `blob` is memory of
  // Device::allocate_host and must stay until finish().
  virtual void load(const std::byte* blob, std::span<const WeightCopy> copies) = 0;

  // Waits until everything has arrived. Returns false if any of the numbers, or any scale of a
  // matrix that stays in FP8, is not finite.
  virtual bool finish() = 0;
};

}  // namespace indexcache
