// SPDX-License-Identifier: Apache-2.0
// FP8 matrices for tests, and what their products should be: plain loops in double precision that
// share no code with the program.
#pragma once

#include "backend/backend.h"
#include "support/bf16.h"
#include "support/random.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <ranges>
#include <vector>

namespace indexcache::test {

// The number of an E4M3 code, as the format is defined.
inline double e4m3_by_definition(int code) {
  const int exponent = code >> 3 & 15, fraction = code & 7;
  if ((code & 0x7f) == 0x7f) return std::numeric_limits<double>::quiet_NaN();
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, exponent - 10);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

inline double e4m3_number(std::uint8_t code) {
  static const auto numbers = [] {
    std::array<double, 256> all;
    for (int i = 0; i < 256; ++i) all[static_cast<std::size_t>(i)] = e4m3_by_definition(i);
    return all;
  }();
  return numbers[code];
}

// The nearest E4M3 number; of two the even one. NaN stays NaN.
inline double nearest_e4m3(double x) {
  if (std::isnan(x)) return x;
  const auto number = [](int code) { return e4m3_number(static_cast<std::uint8_t>(code)); };
  constexpr int kLargest = 0x7e;
  const double magnitude = std::min(std::abs(x), number(kLargest));
  const auto codes = std::views::iota(0, kLargest + 1);
  const int above = *std::ranges::lower_bound(codes, magnitude, {}, number);
  const int below = std::max(0, above - 1);
  const double nearer = (number(above) - magnitude) - (magnitude - number(below));
  const bool up = nearer < 0 || (nearer == 0 && above % 2 == 0);
  return std::copysign(number(up ? above : below), x);
}

// The scale of a group of activations, and what they become.
struct QuantizedGroup {
  float scale;
  std::vector<double> numbers;
};

inline QuantizedGroup quantized_group(const float* x, std::int64_t count) {
  float peak = 1e-10f;
  for (std::int64_t i = 0; i < count; ++i) {
    if (std::abs(x[i]) > peak) peak = std::abs(x[i]);
  }
  QuantizedGroup group{peak / 448.0f, {}};
  for (std::int64_t i = 0; i < count; ++i) {
    group.numbers.push_back(nearest_e4m3(x[i] / group.scale));
  }
  return group;
}

// Numbers of very different sizes from group to group.
inline std::vector<float> uneven(std::int64_t rows, std::int64_t cols, std::uint32_t seed) {
  auto values = random_floats(static_cast<std::size_t>(rows * cols), seed);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] *= std::ldexp(1.0f, static_cast<int>(i / 64 % 11) - 5);
  }
  return to_bf16(std::move(values));
}

struct Fp8Matrix {
  std::int64_t rows, cols;
  std::vector<std::uint8_t> codes;
  std::vector<float> scales;  // [ceil(rows / 128), ceil(cols / 128)]
  bool byte_scales = false;   // stored as E8M0

  // Any codes but NaN, scales around 1 / 448.
  Fp8Matrix(std::int64_t row_count, std::int64_t col_count, std::uint32_t seed)
      : rows(row_count), cols(col_count), codes(static_cast<std::size_t>(rows * cols)) {
    std::mt19937 engine(seed);
    for (std::uint8_t& code : codes)
      code = static_cast<std::uint8_t>(engine() % 127 | engine() << 7);
    for (std::uint8_t& code : codes) code = (code & 0x7f) == 0x7f ? std::uint8_t{0} : code;
    const auto blocks = static_cast<std::size_t>((rows + 127) / 128 * ((cols + 127) / 128));
    for (float value : random_floats(blocks, seed + 1)) scales.push_back((value + 1.5f) / 448.0f);
  }

  float scale(std::int64_t row, std::int64_t block) const {
    return scales[static_cast<std::size_t>(row / 128 * ((cols + 127) / 128) + block)];
  }
  double number(std::int64_t row, std::int64_t col) const {
    return e4m3_number(codes[static_cast<std::size_t>(row * cols + col)]);
  }

  // Makes the scales powers of two, so that they may be stored in a byte.
  void round_scales() {
    for (float& scale : scales) scale = std::exp2(std::floor(std::log2(scale)));
    byte_scales = true;
  }

  // On a device, by its uploader, which may say whether all numbers are finite.
  Tensor put(Backend& backend, bool* finite = nullptr) const {
    const auto align = [](std::size_t bytes) {
      return (static_cast<std::int64_t>(bytes) + kBlobGrain - 1) / kBlobGrain * kBlobGrain;
    };
    WeightCopy copy{
        {.dtype = DType::f8_e4m3, .rows = rows, .cols = cols}, {rows, 0, rows, false}, {}};
    copy.from.block_rows = copy.from.block_cols = 128;
    copy.from.scales_at = 0;
    copy.from.scales_dtype = byte_scales ? DType::f8_e8m0 : DType::f32;
    copy.from.at = align(scales.size() * sizeof(float));
    const auto blob = backend.allocate_host(copy.from.at + align(codes.size()));
    std::memcpy(blob.get(), scales.data(), scales.size() * sizeof(float));
    for (std::size_t i = 0; byte_scales && i < scales.size(); ++i) {
      blob.get()[i] = static_cast<std::byte>(std::ilogb(scales[i]) + 127);
    }
    std::memcpy(blob.get() + copy.from.at, codes.data(), codes.size());
    const Tensor device_scales =
        backend.allocate((rows + 127) / 128, (cols + 127) / 128, DType::f32, Memory::weights);
    copy.out =
        backend.allocate(rows, cols, DType::f8_e4m3, Memory::weights).with_scales(device_scales);
    const auto uploader = backend.make_weight_uploader();
    uploader->begin(backend.mark());
    uploader->load(blob.get(), std::span(&copy, 1));
    const bool all_finite = uploader->finish();
    if (finite != nullptr) *finite = all_finite;
    return copy.out;
  }
};

// One row of x times the matrix: blocks of 128 columns, each with its two scales.
inline std::vector<double> fp8_product(const float* x, const Fp8Matrix& weight) {
  std::vector<double> out(static_cast<std::size_t>(weight.rows), 0.0);
  for (std::int64_t first = 0; first < weight.cols; first += 128) {
    const std::int64_t count = std::min<std::int64_t>(128, weight.cols - first);
    const QuantizedGroup group = quantized_group(x + first, count);
    for (std::int64_t c = 0; c < weight.rows; ++c) {
      double sum = 0;
      for (std::int64_t d = 0; d < count; ++d) {
        sum += group.numbers[static_cast<std::size_t>(d)] * weight.number(c, first + d);
      }
      out[static_cast<std::size_t>(c)] +=
          double{group.scale} * double{weight.scale(c, first / 128)} * sum;
    }
  }
  return out;
}

// down(silu(gate(x)) * up(x)), with the numbers between the products in float32.
inline std::vector<double> fp8_mlp(const float* x, const Fp8Matrix& gate_up,
                                   const Fp8Matrix& down) {
  const std::vector<double> both = fp8_product(x, gate_up);
  std::vector<float> middle;
  for (std::size_t i = 0; i < both.size() / 2; ++i) {
    middle.push_back(
        static_cast<float>(both[i] / (1 + std::exp(-both[i])) * both[both.size() / 2 + i]));
  }
  return fp8_product(middle.data(), down);
}

}  // namespace indexcache::test
