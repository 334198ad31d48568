// SPDX-License-Identifier: Apache-2.0
// Converts stored weights to float32 on the calling thread, beside the threads that compute.
#include "backend/weight_uploader.h"

#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/arithmetic/e4m3.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace indexcache::cpu {
namespace {

template <DType kType>
struct Stored;
template <>
struct Stored<DType::f32> {
  using Type = float;
  static float widen(float value) { return value; }
};
template <>
struct Stored<DType::bf16> {
  using Type = std::uint16_t;
  static float widen(std::uint16_t bits) { return bf16_to_float(bits); }
};
template <>
struct Stored<DType::f16> {
  using Type = std::uint16_t;
  static float widen(std::uint16_t bits) { return f16_to_float(bits); }
};
template <>
struct Stored<DType::f8_e4m3> {
  using Type = std::uint8_t;
  static float widen(std::uint8_t bits) { return kE4m3[bits]; }
};

// A row as float32.
template <DType kType>
void widen_row(const std::byte* row, std::int64_t cols, float* out) {
  const auto* stored = reinterpret_cast<const typename Stored<kType>::Type*>(row);
  for (std::int64_t c = 0; c < cols; ++c) out[c] = Stored<kType>::widen(stored[c]);
}
template <>
void widen_row<DType::i8>(const std::byte* row, std::int64_t cols, float* out) {
  const auto* pairs = reinterpret_cast<const std::uint8_t*>(row);
  for (std::int64_t c = 0; c < cols; ++c) {
    const int bits = c % 2 == 0 ? pairs[c / 2] & 0xf : pairs[c / 2] >> 4;
    out[c] = e2m1_to_float(static_cast<std::uint8_t>(bits));
  }
}

class CpuWeightUploader : public WeightUploader {
 public:
  void begin(const std::shared_ptr<void>&) override { finite_ = true; }

  void load(const std::byte* blob, std::span<const WeightCopy> copies) override {
    for (const WeightCopy& copy : copies) {
      if (copy.out.dtype() == DType::f8_e4m3) {
        keep(blob, copy);
        continue;
      }
      if (copy.out.dtype() == DType::i32) {
        copy_table(blob, copy);
        continue;
      }
      switch (copy.from.dtype) {
        case DType::bf16:
          convert<DType::bf16>(blob, copy);
          break;
        case DType::f16:
          convert<DType::f16>(blob, copy);
          break;
        case DType::f8_e4m3:
          convert<DType::f8_e4m3>(blob, copy);
          break;
        case DType::i8:
          convert<DType::i8>(blob, copy);
          break;
        default:
          convert<DType::f32>(blob, copy);
      }
    }
  }

  bool finish() override { return finite_; }

 private:
  template <DType kType>
  void convert(const std::byte* blob, const WeightCopy& copy) {
    const StoredMatrix& from = copy.from;
    const HeadRows& heads = copy.heads;
    row_.resize(static_cast<std::size_t>(from.cols));
    for (std::int64_t row = 0; row < from.rows; ++row) {
      const std::int64_t head = row / heads.rows, inside = row % heads.rows - heads.first;
      if (inside < 0 || inside >= heads.count) continue;
      float* target = heads.transposed
                          ? row_.data()
                          : copy.out.data<float>() + (head * heads.count + inside) * from.cols;
      widen_row<kType>(blob + from.at + row * from.row_bytes(), from.cols, target);
      if (from.scales_at >= 0) scale_row(blob, from, row, target);
      note_finite(target, from.cols);
      if (!heads.transposed) continue;
      float* out = copy.out.data<float>() + head * from.cols * heads.count + inside;
      for (std::int64_t c = 0; c < from.cols; ++c) out[c * heads.count] = target[c];
    }
  }

  // FP8 that stays FP8.
  void keep(const std::byte* blob, const WeightCopy& copy) {
    const StoredMatrix& from = copy.from;
    const auto* codes = reinterpret_cast<const std::uint8_t*>(blob + from.at);
    const std::int64_t count = from.rows * from.cols;
    std::memcpy(copy.out.data<void>(), codes, static_cast<std::size_t>(count));
    bool numbers = true;
    for (std::int64_t i = 0; i < count; ++i) numbers &= (codes[i] & 0x7f) != 0x7f;
    finite_ = finite_ && numbers;
    const Tensor scales = copy.out.scales();
    const std::int64_t blocks = scales.rows() * scales.cols();
    for (std::int64_t i = 0; i < blocks; ++i) scales.data<float>()[i] = scale(blob, from, i);
    note_finite(scales.data<float>(), blocks);
  }

  void copy_table(const std::byte* blob, const WeightCopy& copy) {
    const auto* stored = reinterpret_cast<const std::int64_t*>(blob + copy.from.at);
    auto* out = copy.out.data<std::int32_t>();
    for (std::int64_t i = 0; i < copy.from.rows * copy.from.cols; ++i) {
      const bool valid = stored[i] >= 0 && stored[i] < copy.limit;
      out[i] = valid ? static_cast<std::int32_t>(stored[i]) : 0;
      finite_ = finite_ && valid;
    }
  }

  // The i-th scale of a matrix.
  static float scale(const std::byte* blob, const StoredMatrix& from, std::int64_t i) {
    const std::byte* scales = blob + from.scales_at;
    return from.scales_dtype == DType::f8_e8m0
               ? e8m0_to_float(std::to_integer<std::uint8_t>(scales[i]))
               : reinterpret_cast<const float*>(scales)[i];
  }

  static void scale_row(const std::byte* blob, const StoredMatrix& from, std::int64_t row,
                        float* values) {
    const std::int64_t blocks = (from.cols + from.block_cols - 1) / from.block_cols;
    for (std::int64_t b = 0; b < blocks; ++b) {
      const float factor = scale(blob, from, row / from.block_rows * blocks + b);
      const std::int64_t end = std::min(from.cols, (b + 1) * from.block_cols);
      for (std::int64_t c = b * from.block_cols; c < end; ++c) values[c] *= factor;
    }
  }

  void note_finite(const float* values, std::int64_t count) {
    bool finite = true;
    for (std::int64_t i = 0; i < count; ++i) finite &= std::isfinite(values[i]);
    finite_ = finite_ && finite;
  }

  std::vector<float> row_;
  bool finite_ = true;
};

}  // namespace

std::unique_ptr<WeightUploader> make_weight_uploader() {
  return std::make_unique<CpuWeightUploader>();
}

}  // namespace indexcache::cpu
