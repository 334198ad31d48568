// SPDX-License-Identifier: Apache-2.0
// FP8 on Hopper: quantization and grouped products against plain loops, operations and whole models
// against the CPU backend.
#include "support/fp8.h"

#include "backend/cuda/check.h"
#include "backend/cuda/weight_tables.h"
#include "cuda/gpu.h"
#include "kernels/architecture.h"
#include "kernels/block_quantize.h"
#include "kernels/grouped_gemm.h"
#include "kernels/swiglu.h"

#include <functional>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Before and after a kernel on the default stream.
void wait() {
  INDEXCACHE_CUDA(cudaDeviceSynchronize());
}

// Numbers of very different sizes from group to group.
std::vector<float> uneven(std::int64_t rows, std::int64_t cols, std::uint32_t seed) {
  auto values = random_floats(count_of(rows, cols), seed);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] *= std::ldexp(1.0f, static_cast<int>(i / 64 % 11) - 5);
  }
  return to_bf16(std::move(values));
}

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
  wait();
  INDEXCACHE_CUDA(kernels::block_quantize(
      {.x = in.data<void>(),
       .type = type == DType::f32 ? kernels::Type::f32 : kernels::Type::bf16,
       .x_stride = width + gap,
       .out = out.data<void>(),
       .scales = scales.data<float>(),
       .rows = rows,
       .width = width},
      nullptr));
  wait();
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
  wait();
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
  wait();
  const auto numbers = b.download(out), actual = b.download(scales), expected = b.download(gated);
  std::size_t wrong = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    wrong += wrong_of_row(numbers.data() + r * width, actual.data() + r * scale_blocks(width),
                          expected.data() + r * width, width);
  }
  INFO(width << ", limit " << limit);
  CHECK(wrong == 0);
}

// A grouped product with everything that its kernel is asked for.
struct Product {
  kernels::Type type;
  std::vector<std::int32_t> counts;  // of each group
  std::int64_t cols, depth;
  kernels::Type out_type = kernels::Type::f32;
  bool accumulate = false;
  bool plain = false;  // one group, and no counts

  bool fp8() const { return type == kernels::Type::e4m3; }
  std::int64_t slots() const {
    std::int64_t sum = 0;
    for (const std::int32_t count : counts) sum += count;
    return sum;
  }

  // Inputs, and the results that they should have.
  std::vector<float> x() const { return uneven(slots(), depth, 60); }
  Fp8Matrix fp8_weight(std::uint32_t group) const { return Fp8Matrix(cols, depth, 70 + group); }
  std::vector<float> bf16_weight(std::uint32_t group) const {
    return to_bf16(random_floats(count_of(cols, depth), 70 + group));
  }
  std::vector<float> before() const { return random_floats(count_of(slots(), cols), 61); }

  std::vector<float> expected() const {
    const auto rows_of_x = x(), residual = before();
    std::vector<float> out;
    std::int64_t slot = 0;
    for (std::uint32_t g = 0; g < counts.size(); ++g) {
      if (counts[g] == 0) continue;
      const auto multiply = product_with(g);
      for (std::int32_t i = 0; i < counts[g]; ++i, ++slot) {
        for (const double value : multiply(rows_of_x.data() + slot * depth)) {
          out.push_back(static_cast<float>(value + (accumulate ? residual[out.size()] : 0)));
        }
      }
    }
    return out;
  }

  // Multiplies rows of x by the matrix of a group.
  std::function<std::vector<double>(const float*)> product_with(std::uint32_t group) const {
    if (fp8()) {
      return [weight = fp8_weight(group)](const float* in) { return fp8_product(in, weight); };
    }
    return [this, weight = bf16_weight(group)](const float* in) {
      std::vector<double> out;
      for (std::int64_t c = 0; c < cols; ++c) {
        double sum = 0;
        for (std::int64_t d = 0; d < depth; ++d) {
          sum += double{in[d]} * weight[count_of(c, depth) + static_cast<std::size_t>(d)];
        }
        out.push_back(sum);
      }
      return out;
    };
  }
};

Tensor weight_of(CudaBackend& b, const Product& p, std::uint32_t group) {
  if (p.fp8()) return p.fp8_weight(group).put(b);
  return b.upload_matrix(p.bf16_weight(group), p.cols, p.depth);
}

// x of slots [first, first + count) of a product in its type, with scales for e4m3.
std::pair<Tensor, Tensor> operand_of(CudaBackend& b, const Product& p, std::int64_t first,
                                     std::int64_t count) {
  const auto all = p.x();
  const std::vector<float> own(all.begin() + first * p.depth,
                               all.begin() + (first + count) * p.depth);
  const Tensor x = b.upload_matrix(own, count, p.depth);
  if (!p.fp8()) return {x, {}};
  const Tensor out = b.allocate(count, p.depth, DType::f8_e4m3);
  const Tensor scales = b.allocate(count, scale_blocks(p.depth));
  wait();
  INDEXCACHE_CUDA(kernels::block_quantize({.x = x.data<void>(),
                                           .type = kernels::Type::bf16,
                                           .x_stride = p.depth,
                                           .out = out.data<void>(),
                                           .scales = scales.data<float>(),
                                           .rows = count,
                                           .width = p.depth},
                                          nullptr));
  wait();
  return {out, scales};
}

// Results of slots [first, first + count), computed by themselves; all of them by default. Columns
// between the rows of the output must stay as they were.
std::vector<float> run(const Product& p, std::int64_t first = 0, std::int64_t count = -1) {
  if (count < 0) count = p.slots();
  CudaBackend b({Precision::bf16, Precision::fp32});
  std::vector<Tensor> weights;
  std::vector<std::int32_t> counts;
  std::int64_t end = 0;
  for (std::uint32_t g = 0; g < p.counts.size(); ++g) {
    const std::int64_t begin = std::exchange(end, end + p.counts[g]);
    weights.push_back(weight_of(b, p, g));
    counts.push_back(static_cast<std::int32_t>(
        std::max<std::int64_t>(0, std::min(end, first + count) - std::max(begin, first))));
  }
  const auto [x, scales] = operand_of(b, p, first, count);
  const Tensor d_counts =
      b.upload(std::span<const std::int32_t>(counts), 1, static_cast<std::int64_t>(counts.size()));
  const Tensor scratch =
      b.allocate(1, kernels::grouped_gemm_scratch(std::ssize(weights)), DType::i32);
  const std::int64_t stride = p.cols + 16;
  std::vector<float> out(count_of(count, stride), kPoison);
  const auto before = p.before();
  for (std::int64_t s = 0; s < count && p.accumulate; ++s) {
    std::copy_n(before.begin() + (first + s) * p.cols, p.cols, out.begin() + s * stride);
  }
  const bool f32 = p.out_type == kernels::Type::f32;
  const Tensor d_out = f32 ? b.upload(out, count, stride) : b.upload_matrix(out, count, stride);
  wait();
  cuda::DeviceMemory memory(0, nullptr);
  cuda::WeightTables tables(memory, nullptr);
  const kernels::GroupedGemmParams params{
      .x = x.data<void>(),
      .type = p.type,
      .x_stride = p.depth,
      .x_scales = scales.data<float>(),
      .weights = tables.get(weights),
      .counts = p.plain ? nullptr : d_counts.data<std::int32_t>(),
      .groups = static_cast<int>(weights.size()),
      .slots = count,
      .cols = static_cast<int>(p.cols),
      .depth = static_cast<int>(p.depth),
      .out = d_out.data<void>(),
      .out_type = p.out_type,
      .out_stride = stride,
      .accumulate = p.accumulate,
      .scratch = scratch.data<std::int32_t>()};
  REQUIRE(kernels::grouped_gemm_applies(params));
  INDEXCACHE_CUDA(kernels::grouped_gemm(params, nullptr));
  wait();
  const auto all = b.download(d_out);
  std::vector<float> results;
  std::size_t written_between = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bool inside = static_cast<std::int64_t>(i) % stride < p.cols;
    if (inside) results.push_back(all[i]);
    if (!inside && !std::isnan(all[i])) ++written_between;
  }
  CHECK(written_between == 0);
  return results;
}

std::vector<std::int32_t> repeated(const std::vector<std::int32_t>& counts, int times) {
  std::vector<std::int32_t> out;
  for (int i = 0; i < times; ++i) out.insert(out.end(), counts.begin(), counts.end());
  return out;
}

const std::vector<Product> kProducts = {
    {.type = kernels::Type::e4m3, .counts = {1}, .cols = 64, .depth = 128, .plain = true},
    {.type = kernels::Type::e4m3, .counts = {300}, .cols = 576, .depth = 256, .plain = true},
    {.type = kernels::Type::e4m3, .counts = {131}, .cols = 144, .depth = 400, .plain = true},
    {.type = kernels::Type::e4m3,
     .counts = {129, 0, 1, 257, 128, 0, 63},
     .cols = 256,
     .depth = 384},
    {.type = kernels::Type::e4m3, .counts = {0, 0, 5, 200, 0}, .cols = 272, .depth = 128},
    {.type = kernels::Type::e4m3,
     .counts = {150, 7},
     .cols = 128,
     .depth = 272,
     .out_type = kernels::Type::bf16},
    {.type = kernels::Type::e4m3,
     .counts = {200},
     .cols = 192,
     .depth = 512,
     .accumulate = true,
     .plain = true},
    // Tiles of different heights.
    {.type = kernels::Type::e4m3,
     .counts = {256, 0, 321, 449, 193, 64, 65, 385},
     .cols = 136,
     .depth = 1920},
    {.type = kernels::Type::bf16,
     .counts = {256, 0, 321, 449, 193, 64, 65, 385},
     .cols = 264,
     .depth = 1088},
    // The same, more than multiprocessors, and more stages than a tile is taken ahead.
    {.type = kernels::Type::e4m3,
     .counts = repeated({1, 65, 1, 129, 1}, 27),
     .cols = 136,
     .depth = 1664,
     .accumulate = true},
    {.type = kernels::Type::e4m3,
     .counts = repeated({1, 65, 1, 129, 1}, 27),
     .cols = 136,
     .depth = 1664,
     .out_type = kernels::Type::bf16},
    {.type = kernels::Type::bf16,
     .counts = repeated({1, 65, 1, 129, 1}, 27),
     .cols = 264,
     .depth = 832,
     .accumulate = true},
    {.type = kernels::Type::bf16,
     .counts = repeated({1, 65, 1, 129, 1}, 27),
     .cols = 264,
     .depth = 832,
     .out_type = kernels::Type::bf16},
    // More tiles of slots than a band has.
    {.type = kernels::Type::e4m3, .counts = {3500}, .cols = 264, .depth = 144, .plain = true},
    {.type = kernels::Type::bf16, .counts = {3500}, .cols = 520, .depth = 72, .plain = true},
    // More tiles than multiprocessors, and columns that end within a tile.
    {.type = kernels::Type::e4m3,
     .counts = std::vector<std::int32_t>(40, 37),
     .cols = 1016,
     .depth = 256},
    {.type = kernels::Type::bf16,
     .counts = std::vector<std::int32_t>(40, 37),
     .cols = 1032,
     .depth = 192},
    {.type = kernels::Type::bf16, .counts = {1}, .cols = 64, .depth = 64, .plain = true},
    {.type = kernels::Type::bf16,
     .counts = {129, 0, 1, 257, 128, 0, 63},
     .cols = 256,
     .depth = 384},
    {.type = kernels::Type::bf16, .counts = {0, 0, 5, 200, 0}, .cols = 264, .depth = 136},
    {.type = kernels::Type::bf16,
     .counts = {150, 7},
     .cols = 128,
     .depth = 512,
     .out_type = kernels::Type::bf16},
    {.type = kernels::Type::bf16,
     .counts = {200},
     .cols = 192,
     .depth = 512,
     .accumulate = true,
     .plain = true}};

std::string text_of(const Product& p) {
  return fmt::format("{} groups, {} slots, {} -> {}, {}{}", p.counts.size(), p.slots(), p.depth,
                     p.cols, p.fp8() ? "e4m3" : "bf16", p.accumulate ? ", accumulated" : "");
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

TEST_CASE("GPU grouped products equal plain loops", "[fp8]") {
  if (!kernels::has_warpgroups()) return;
  for (const Product& p : kProducts) {
    INFO(text_of(p));
    // e4m3: tensor cores keep about 14 bits of a sum; bf16: the rounding of the result.
    const double sums = p.fp8() ? 1e-3 : 1e-5;
    CHECK_CLOSE(run(p), p.expected(), p.out_type == kernels::Type::f32 ? sums : 4e-3);
  }
}

TEST_CASE("GPU rows of grouped products have the same bits alone", "[fp8]") {
  if (!kernels::has_warpgroups()) return;
  for (const Product& p : kProducts) {
    INFO(text_of(p));
    const auto whole = run(p);
    for (const auto& [first, count] : {std::pair<std::int64_t, std::int64_t>{0, 1},
                                       {p.slots() - 1, 1},
                                       {p.slots() / 3, p.slots() - p.slots() / 3}}) {
      CHECK(run(p, first, count) == std::vector<float>(whole.begin() + first * p.cols,
                                                       whole.begin() + (first + count) * p.cols));
    }
  }
}

TEST_CASE("GPU products of groups refuse what they cannot compute", "[fp8]") {
  if (!kernels::has_warpgroups()) return;
  kernels::GroupedGemmParams params{};
  params.type = kernels::Type::e4m3;
  params.x_stride = params.depth = 256;
  params.groups = 1;
  params.cols = 128;
  params.out_type = kernels::Type::bf16;
  params.out_stride = 128;
  CHECK(kernels::grouped_gemm_applies(params));  // decided from shapes, without addresses
  auto other = params;
  other.x_stride = other.depth = 264;
  CHECK_FALSE(kernels::grouped_gemm_applies(other));
  other = params;
  other.groups = 0;
  CHECK_FALSE(kernels::grouped_gemm_applies(other));
}
