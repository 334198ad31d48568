// SPDX-License-Identifier: Apache-2.0
// The way of weights from host memory to a device, beside the work that the device is doing.
#pragma once

#include "backend/tensor.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace indexcache {

// A matrix as a checkpoint stores it, row-major, at a place of an image: the stored bytes of a
// layer in host memory. FP8 (E4M3) has one float32 scale a block, at [ceil(rows / block_rows),
// ceil(cols / block_cols)]; others have none.
struct StoredMatrix {
  DType dtype = DType::f32;  // f32, bf16, f16 or f8_e4m3
  std::int64_t rows = 0, cols = 0;
  std::int64_t at = 0;          // byte of the image, a multiple of kImageGrain
  std::int64_t scales_at = -1;  // byte of the image, before `at`; -1 for none
  std::int64_t block_rows = 0, block_cols = 0;

  std::int64_t begin() const { return scales_at < 0 ? at : scales_at; }
  std::int64_t end() const { return at + rows * cols * static_cast<std::int64_t>(size_of(dtype)); }
};

inline constexpr std::int64_t kImageGrain = 256;

// Some rows of every head: rows [first, first + count) of each `rows` rows, as they are or each
// head's transposed. Without heads: one head of all rows.
struct HeadRows {
  std::int64_t rows, first, count;
  bool transposed;
};

// One matrix, converted: out = stored * scale, rounded once. `out` is f32 or the engine's
// activation(), without gaps: [heads * count, cols], transposed [heads * cols, count].
struct WeightCopy {
  StoredMatrix from;
  HeadRows heads;
  Tensor out;
};

// Used by one thread at a time, which need not be the one that computes.
class WeightLane {
 public:
  virtual ~WeightLane() = default;

  // Nothing that is loaded from here on overtakes what was queued before `mark` (Backend::mark).
  virtual void begin(const std::shared_ptr<void>& mark) = 0;

  // Queues copies in the order of their places. `image` is memory of Backend::allocate_host and
  // stays until finish().
  virtual void load(const std::byte* image, std::span<const WeightCopy> copies) = 0;

  // Waits until everything has arrived. False where a number that arrived is not finite.
  virtual bool finish() = 0;
};

}  // namespace indexcache
