// SPDX-License-Identifier: Apache-2.0
// Blobs of stored matrices of every type, as weight uploaders read them.
#pragma once

#include "backend/device.h"
#include "support/fp8.h"

#include <bit>
#include <cstring>
#include <random>
#include <vector>

namespace indexcache::test {

struct StoredShape {
  DType dtype;
  std::int64_t rows, cols;
  HeadRows heads;
  DType scales = DType::f32;
};

inline constexpr DType kByte = DType::f8_e8m0;

// Partial blocks, columns that no vector divides, every code of FP4 and FP8 but NaN, both sides of
// kv_b, and scales of either type.
inline const std::vector<StoredShape> kSmallShapes = {
    {DType::f8_e4m3, 131, 260, {131, 0, 131, false}},
    {DType::bf16, 7, 5, {7, 0, 7, false}},
    {DType::f16, 3, 128, {3, 0, 3, false}},
    {DType::f32, 9, 520, {9, 0, 9, false}},
    {DType::bf16, 30, 20, {10, 0, 4, true}},
    {DType::bf16, 30, 20, {10, 4, 6, false}},
    {DType::f8_e4m3, 256, 8, {64, 0, 48, true}},
    {DType::f8_e4m3, 131, 260, {131, 0, 131, false}, kByte},
    {DType::i8, 17, 96, {17, 0, 17, false}},
    {DType::i8, 31, 96, {31, 0, 31, false}, kByte},
    {DType::i8, 5, 38, {5, 0, 5, false}},
    {DType::f32, 1, 6, {1, 0, 1, false}}};

// Copies of matrices with their places in a blob of `bytes`, without a target.
inline std::vector<WeightCopy> copies_of_blob(const std::vector<StoredShape>& shapes,
                                              std::int64_t& bytes) {
  std::vector<WeightCopy> copies;
  bytes = 0;
  for (const StoredShape& m : shapes) {
    WeightCopy copy{{.dtype = m.dtype, .rows = m.rows, .cols = m.cols}, m.heads, {}};
    if (m.dtype == DType::f8_e4m3 || m.dtype == DType::i8) {
      copy.from.block_rows = m.dtype == DType::i8 ? 1 : 128;
      copy.from.block_cols = m.dtype == DType::i8 ? 32 : 128;
      copy.from.scales_at = bytes;
      copy.from.scales_dtype = m.scales;
      const auto blocks = [](std::int64_t extent, std::int64_t block) {
        return (extent + block - 1) / block;
      };
      bytes +=
          on_grain(static_cast<std::int64_t>(size_of(m.scales)) *
                   blocks(m.rows, copy.from.block_rows) * blocks(m.cols, copy.from.block_cols));
    }
    copy.from.at = bytes;
    bytes = on_grain(copy.from.end());
    copies.push_back(copy);
  }
  return copies;
}

inline void fill_blob(std::byte* blob, const std::vector<WeightCopy>& copies) {
  std::mt19937 engine(5);
  for (const WeightCopy& copy : copies) {
    const StoredMatrix& m = copy.from;
    if (m.scales_at >= 0 && m.scales_dtype == kByte) {  // 2^-127 to 2^-1
      for (std::int64_t i = m.scales_at; i < m.at; ++i) {
        blob[i] = static_cast<std::byte>((i - m.scales_at) % 127);
      }
    } else if (m.scales_at >= 0) {
      auto* scales = reinterpret_cast<float*>(blob + m.scales_at);
      for (std::int64_t i = 0; i < (m.at - m.scales_at) / 4; ++i) {
        scales[i] = 0.5f + static_cast<float>(i);
      }
    }
    for (std::int64_t i = 0; m.dtype == DType::i8 && i < m.rows * m.row_bytes(); ++i) {
      blob[m.at + i] = static_cast<std::byte>(i * 37 % 256);
    }
    for (std::int64_t i = 0; m.dtype != DType::i8 && i < m.rows * m.cols; ++i) {
      const float value = static_cast<float>(static_cast<int>(engine() % 2001) - 1000) * 0x1p-9f;
      auto* place = blob + m.at + i * static_cast<std::int64_t>(size_of(m.dtype));
      const auto code = static_cast<std::uint8_t>(i % 127 + (i % 2) * 128);  // never NaN
      const auto bf16 = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
      const auto f16 = static_cast<std::uint16_t>(engine() % 0x7c00);
      if (m.dtype == DType::f8_e4m3) std::memcpy(place, &code, 1);
      if (m.dtype == DType::bf16) std::memcpy(place, &bf16, 2);
      if (m.dtype == DType::f16) std::memcpy(place, &f16, 2);
      if (m.dtype == DType::f32) std::memcpy(place, &value, 4);
    }
  }
}

// Targets in the backend's type of activations.
inline void allocate_targets(Device& device, std::vector<WeightCopy>& copies) {
  for (WeightCopy& copy : copies) {
    const std::int64_t heads = copy.from.rows / copy.heads.rows;
    const std::int64_t per_head = copy.heads.transposed ? copy.from.cols : copy.heads.count;
    const std::int64_t cols = copy.heads.transposed ? copy.heads.count : copy.from.cols;
    copy.out = device.allocate(heads * per_head, cols, device.activation(), Memory::weights);
  }
}

}  // namespace indexcache::test
