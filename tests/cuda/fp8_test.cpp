// SPDX-License-Identifier: Apache-2.0
// Quantization of activations on GPUs against plain loops.
#include "support/fp8.h"

#include "backend/cuda/check.h"
#include "cuda/gpu.h"
#include "kernels/block_quantize.h"
#include "kernels/swiglu.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

bool same(float a, double b) {
  return std::isnan(a) ? std::isnan(b) : double{a} == b;
}

// Of the elements of a quantized row and its scales, how many are not those of `expected`, a row of
// numbers.
std::size_t wrong_of_row(const float* numbers, const float* scales, const float* expected,
                         std::int64_t width) {
  std::size_t wrong = 0;
  for (std::int64_t first = 0; first < width; first += 128) {
    const QuantizedGroup group =
        quantized_group(expected + first, std::min<std::int64_t>(128, width - first));
    wrong += scales[first / 128] == group.scale ? 0 : 1;
    for (std::size_t i = 0; i < group.numbers.size(); ++i) {
      wrong += same(numbers[static_cast<std::size_t>(first) + i], group.numbers[i]) ? 0 : 1;
    }
  }
  return wrong;
}

// Quantizes x, float32 rows that are `gap` columns further apart than wide, in type `type`.
void check_quantized(const std::vector<float>& x, std::int64_t width, std::int64_t gap,
                     DType type) {
  const auto rows = static_cast<std::int64_t>(x.size()) / (width + gap);
  CudaBackend b({type == DType::f32 ? Precision::fp32 : Precision::bf16, Precision::fp32});
  const Tensor in = b.upload_matrix(x, rows, width + gap);
  const Tensor out = b.allocate(rows, width, DType::f8_e4m3);
  const Tensor scales = b.allocate(rows, scale_blocks(width));
  synchronize();
  INDEXCACHE_CUDA(kernels::block_quantize(
      {.x = in.data<void>(),
       .type = type == DType::f32 ? kernels::Type::f32 : kernels::Type::bf16,
       .x_stride = width + gap,
       .out = out.data<void>(),
       .scales = scales.data<float>(),
       .rows = rows,
       .width = width},
      nullptr));
  synchronize();
  const auto numbers = b.download(out), actual_scales = b.download(scales);
  std::size_t wrong = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    wrong +=
        wrong_of_row(numbers.data() + r * width, actual_scales.data() + r * scale_blocks(width),
                     x.data() + r * (width + gap), width);
  }
  INFO(rows << " x " << width << " + " << gap << " " << name_of(type));
  CHECK(wrong == 0);
}

// Quantizes SwiGLU of [rows, 2 * width] numbers of bf16, in one kernel and in two.
void check_gated(const std::vector<float>& gate_up, std::int64_t width, float limit) {
  CudaBackend b({Precision::bf16, Precision::fp32});
  const std::int64_t rows = static_cast<std::int64_t>(gate_up.size()) / (2 * width);
  const Tensor both = b.upload_matrix(gate_up, rows, 2 * width);
  const Tensor gated = b.allocate(rows, width, DType::bf16);
  const Tensor out = b.allocate(rows, width, DType::f8_e4m3);
  const Tensor scales = b.allocate(rows, scale_blocks(width));
  synchronize();
  INDEXCACHE_CUDA(kernels::swiglu({.gate_up = both.data<void>(),
                                   .out = gated.data<void>(),
                                   .type = kernels::Type::bf16,
                                   .rows = rows,
                                   .width = width,
                                   .limit = limit},
                                  nullptr));
  INDEXCACHE_CUDA(kernels::block_quantize({.x = both.data<void>(),
                                           .type = kernels::Type::bf16,
                                           .x_stride = 2 * width,
                                           .gated = true,
                                           .limit = limit,
                                           .out = out.data<void>(),
                                           .scales = scales.data<float>(),
                                           .rows = rows,
                                           .width = width},
                                          nullptr));
  synchronize();
  const auto numbers = b.download(out), actual = b.download(scales), expected = b.download(gated);
  std::size_t wrong = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    wrong += wrong_of_row(numbers.data() + r * width, actual.data() + r * scale_blocks(width),
                          expected.data() + r * width, width);
  }
  INFO(width << ", limit " << limit);
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("GPU quantizes groups of activations as stated, exactly", "[fp8]") {
  for (const DType type : {DType::f32, DType::bf16}) {
    for (const auto& [width, gap] :
         {std::pair{128, 0}, {16, 0}, {400, 16}, {7168, 0}, {1040, 64}}) {
      check_quantized(uneven(9, width + gap, 50), width, gap, type);
    }
    check_quantized(std::vector<float>(256, 0.0f), 256, 0, type);
    check_quantized(to_bf16(std::vector<float>(144, 1e-12f)), 144, 0, type);
    check_quantized(to_bf16(std::vector<float>(144, 1e-39f)), 144, 0, type);
    check_quantized(to_bf16(std::vector<float>(144, 1e38f)), 144, 0, type);
    std::vector<float> ties(272);
    for (std::size_t i = 0; i < ties.size(); ++i) {
      ties[i] = (i % 2 == 0 ? 1.0f : -1.0f) * (static_cast<float>(i % 97) * 0.0625f);
    }
    ties[5] = ties[200] = ties[260] = 448;
    check_quantized(ties, 272, 0, type);
    ties[130] = kPoison;
    ties[70] = std::numeric_limits<float>::infinity();
    check_quantized(ties, 272, 0, type);
  }
}

TEST_CASE("GPU quantizes SwiGLU as its own kernel and then quantization", "[fp8]") {
  for (const auto& [width, limit] :
       {std::pair<std::int64_t, float>{16, INFINITY}, {136, INFINITY}, {2048, 0.5f}}) {
    check_gated(uneven(7, 2 * width, 51), width, limit);
  }
}

TEST_CASE("GPU quantizes SwiGLU of every number that bf16 has", "[fp8]") {
  constexpr std::int64_t kNumbers = std::int64_t{1} << 16;
  // Neighbors are of similar size, or of all sizes.
  for (const std::uint32_t step : {1u, 40503u}) {
    auto gate_up = to_bf16(random_floats(count_of(2, kNumbers), 53));
    for (std::uint32_t i = 0; i < kNumbers; ++i) {
      const std::uint32_t bits = i * step << 16;
      std::memcpy(&gate_up[i], &bits, sizeof(bits));
    }
    for (const float limit : {INFINITY, 7.0f}) check_gated(gate_up, kNumbers, limit);
  }
}
