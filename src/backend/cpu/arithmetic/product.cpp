// SPDX-License-Identifier: Apache-2.0
// The reference of kernels/block_quantize.h and kernels/grouped_gemm.h: FP8 products as deployed.
#include "backend/cpu/arithmetic/product.h"

#include "backend/cpu/arithmetic/e4m3.h"
#include "backend/cpu/arithmetic/simd.h"
#include "core/narrow.h"

#include <algorithm>
#include <cmath>

namespace indexcache::cpu {
namespace {

constexpr float kLeastPeak = 1e-10f;
struct QuantizedRows;
struct RowScales;
struct WeightRowNumbers;

// The numbers of one group, rounded to E4M3; returns their scale. NaN stays where it is.
float quantize_group(const float* x, std::int64_t count, float* out) {
  float peak = kLeastPeak;
  for (std::int64_t i = 0; i < count; ++i) peak = std::fmax(peak, std::abs(x[i]));
  const float scale = peak / kLargestE4m3;
  for (std::int64_t i = 0; i < count; ++i) {
    const float value = x[i] / scale;
    out[i] = std::isnan(value) ? value : kE4m3[float_to_e4m3(value)];
  }
  return scale;
}

void quantize(const MatrixMap& x, MatrixMap& numbers, MatrixMap& scales) {
  for (std::int64_t row = 0; row < x.rows(); ++row) {
    for (std::int64_t block = 0; block < scales.cols(); ++block) {
      const std::int64_t first = block * kScaleBlock;
      scales(row, block) =
          quantize_group(x.data() + row * x.outerStride() + first,
                         std::min(kScaleBlock, x.cols() - first), &numbers(row, first));
    }
  }
}

// Blocks of 128 columns by themselves, then added up in ascending order.
float scaled_dot(const float* x, const float* x_scales, const float* w, const float* w_scales,
                 std::int64_t depth) {
  float sum = 0;
  for (std::int64_t first = 0, block = 0; first < depth; first += kScaleBlock, ++block) {
    const float partial = dot(x + first, w + first, std::min(kScaleBlock, depth - first));
    sum = std::fma(x_scales[block] * w_scales[block], partial, sum);
  }
  return sum;
}

void fp8_product(const MatrixMap& x, const Tensor& weight, Store store, MatrixMap& out) {
  const std::int64_t depth = x.cols();
  auto numbers = scratch<QuantizedRows>(x.rows(), depth);
  auto scales = scratch<RowScales>(x.rows(), scale_blocks(depth));
  quantize(x, numbers, scales);
  auto widened = scratch<WeightRowNumbers>(1, depth);
  const Tensor weight_scales = weight.scales();
  for (std::int64_t c = 0; c < weight.rows(); ++c) {
    const auto* codes = weight.data<std::uint8_t>() + c * weight.stride();
    for (std::int64_t d = 0; d < depth; ++d) widened(0, d) = kE4m3[codes[d]];
    const float* block_scales = row_of(weight_scales, c / kScaleBlock);
    for (std::int64_t row = 0; row < x.rows(); ++row) {
      const float value =
          scaled_dot(&numbers(row, 0), &scales(row, 0), widened.data(), block_scales, depth);
      out(row, c) = store == Store::assign ? value : out(row, c) + value;
    }
  }
}

}  // namespace

void product(const MatrixMap& x, const Tensor& weight, Store store, MatrixMap& out) {
  if (weight.dtype() == DType::f8_e4m3) {
    fp8_product(x, weight, store, out);
  } else if (store == Store::assign) {
    out.noalias() = x * whole(weight).transpose();
  } else {
    out.noalias() += x * whole(weight).transpose();
  }
}

}  // namespace indexcache::cpu
