// SPDX-License-Identifier: Apache-2.0
// Grouped products on Hopper against plain loops in double precision, in e4m3 and bf16.
#include "kernels/grouped_gemm.h"

#include "backend/cuda/check.h"
#include "backend/cuda/weight_tables.h"
#include "cuda/gpu.h"
#include "kernels/architecture.h"
#include "kernels/block_quantize.h"
#include "kernels/swiglu.h"
#include "support/fp8.h"

#include <algorithm>
#include <cmath>
#include <functional>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// A grouped product with everything that its kernel is asked for.
struct Product {
  kernels::Type type;
  std::vector<std::int32_t> counts;  // of each group
  std::int64_t cols, depth;
  kernels::Type out_type = kernels::Type::f32;
  bool accumulate = false;
  bool plain = false;  // one group, and no counts
  bool gated = false;
  float limit = kNoLimit;  // if gated

  // Of a row of results.
  std::int64_t out_cols() const { return gated ? cols / 2 : cols; }
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

  // Of a row of sums.
  std::vector<double> finished(std::vector<double> sums) const {
    if (!gated) return sums;
    const std::vector<float> both = to_bf16({sums.begin(), sums.end()});
    std::vector<double> out;
    for (std::int64_t c = 0; c < out_cols(); ++c) {
      const double gate = std::min(both[static_cast<std::size_t>(c)], limit);
      const double up = std::clamp(both[static_cast<std::size_t>(c + out_cols())], -limit, limit);
      out.push_back(gate / (1 + std::exp(-gate)) * up);
    }
    return out;
  }

  std::vector<float> expected() const {
    const auto rows_of_x = x(), residual = before();
    std::vector<float> out;
    std::int64_t slot = 0;
    for (std::uint32_t g = 0; g < counts.size(); ++g) {
      if (counts[g] == 0) continue;
      const auto multiply = product_with(g);
      for (std::int32_t i = 0; i < counts[g]; ++i, ++slot) {
        for (const double value : finished(multiply(rows_of_x.data() + slot * depth))) {
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
  synchronize();
  INDEXCACHE_CUDA(kernels::block_quantize({.x = x.data<void>(),
                                           .type = kernels::Type::bf16,
                                           .x_stride = p.depth,
                                           .out = out.data<void>(),
                                           .scales = scales.data<float>(),
                                           .rows = count,
                                           .width = p.depth},
                                          nullptr));
  synchronize();
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
  const std::int64_t stride = p.out_cols() + 16;
  std::vector<float> out(count_of(count, stride), kPoison);
  const auto before = p.before();
  for (std::int64_t s = 0; s < count && p.accumulate; ++s) {
    std::copy_n(before.begin() + (first + s) * p.cols, p.cols, out.begin() + s * stride);
  }
  const bool f32 = p.out_type == kernels::Type::f32;
  const Tensor d_out = f32 ? b.upload(out, count, stride) : b.upload_matrix(out, count, stride);
  synchronize();
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
      .gated = p.gated,
      .limit = p.limit,
      .scratch = scratch.data<std::int32_t>()};
  REQUIRE(kernels::grouped_gemm_applies(params));
  // Another launch right before, of which nothing in scratch memory may be used again.
  const Tensor other_x = b.allocate(count, p.depth, x.dtype());
  const Tensor other_out = b.allocate(count, stride, d_out.dtype());
  synchronize();
  for (const Tensor& some : {other_x, other_out}) {
    constexpr int kAnyNumbers = 0x3f;
    INDEXCACHE_CUDA(
        cudaMemset(some.data<void>(), kAnyNumbers,
                   static_cast<std::size_t>(some.rows() * some.stride()) * size_of(some.dtype())));
  }
  synchronize();
  kernels::GroupedGemmParams other = params;
  other.x = other_x.data<void>();
  other.out = other_out.data<void>();
  INDEXCACHE_CUDA(kernels::grouped_gemm(other, nullptr));
  INDEXCACHE_CUDA(kernels::grouped_gemm(params, nullptr));
  synchronize();
  const auto all = b.download(d_out);
  std::vector<float> results;
  std::size_t written_between = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bool inside = static_cast<std::int64_t>(i) % stride < p.out_cols();
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

// Last parts of tiles of all sizes, alone and after one or two whole parts.
const std::vector<std::int32_t> kParts = {
    1,  8,  15,  16, 17,  24,  31,  32,  33,  40,  47,  48,  49,  63,  64,  65,  80, 81,
    96, 97, 112, 0,  113, 127, 128, 129, 144, 145, 160, 161, 176, 177, 192, 193, 241};

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
     .depth = 1536,
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
    {.type = kernels::Type::bf16, .counts = kParts, .cols = 328, .depth = 328},
    {.type = kernels::Type::bf16,
     .counts = kParts,
     .cols = 328,
     .depth = 64,
     .out_type = kernels::Type::bf16},
    {.type = kernels::Type::bf16, .counts = kParts, .cols = 264, .depth = 136, .accumulate = true},
    // Whole 32s of columns, of which 128 are copied at once.
    {.type = kernels::Type::bf16, .counts = kParts, .cols = 352, .depth = 72, .accumulate = true},
    {.type = kernels::Type::bf16,
     .counts = kParts,
     .cols = 352,
     .depth = 200,
     .out_type = kernels::Type::bf16},
    {.type = kernels::Type::bf16,
     .counts = kParts,
     .cols = 2 * 160,
     .depth = 136,
     .out_type = kernels::Type::bf16,
     .gated = true},
    // Fewer columns than change places.
    {.type = kernels::Type::e4m3, .counts = {70, 1}, .cols = 8, .depth = 144},
    {.type = kernels::Type::bf16, .counts = kParts, .cols = 24, .depth = 72},
    {.type = kernels::Type::bf16,
     .counts = {130, 40, 3},
     .cols = 2 * 8,
     .depth = 72,
     .out_type = kernels::Type::bf16,
     .gated = true},
    // Both together are whole 32s, but neither gate nor up is.
    {.type = kernels::Type::bf16,
     .counts = {300, 40},
     .cols = 2 * 80,
     .depth = 136,
     .out_type = kernels::Type::bf16,
     .gated = true},
    // Gated ones: columns of gate and up end within a tile.
    {.type = kernels::Type::bf16,
     .counts = kParts,
     .cols = 2 * 328,
     .depth = 328,
     .out_type = kernels::Type::bf16,
     .gated = true},
    {.type = kernels::Type::bf16,
     .counts = {300},
     .cols = 2 * 72,
     .depth = 136,
     .out_type = kernels::Type::bf16,
     .plain = true,
     .gated = true,
     .limit = 0.5f},
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

// Not the same for any two products.
std::string text_of(const Product& p) {
  const char* const task = p.accumulate ? ", accumulated" : p.gated ? ", gated" : "";
  return fmt::format("{} groups, {} slots, {} -> {}, {}{}{}", p.counts.size(), p.slots(), p.depth,
                     p.cols, p.fp8() ? "e4m3" : "bf16",
                     p.out_type == kernels::Type::f32 ? "" : " to bf16", task);
}

}  // namespace

TEST_CASE("GPU grouped products equal plain loops", "[fp8]") {
  if (!kernels::has_warpgroups()) return;
  for (const Product& p : kProducts) {
    DYNAMIC_SECTION(text_of(p)) {
      // e4m3: tensor cores keep about 14 bits of a sum; bf16: the rounding of the result.
      const double sums = p.fp8() ? 1e-3 : 1e-5;
      const double rounded = p.gated ? 8e-3 : 4e-3;
      CHECK_CLOSE(run(p), p.expected(), p.out_type == kernels::Type::f32 ? sums : rounded);
    }
  }
}

TEST_CASE("GPU rows of grouped products have the same bits alone", "[fp8][large]") {
  if (!kernels::has_warpgroups()) return;
  for (const Product& p : kProducts) {
    DYNAMIC_SECTION(text_of(p)) {
      const auto whole = run(p);
      const std::int64_t cols = p.out_cols();
      for (const auto& [first, count] : {std::pair<std::int64_t, std::int64_t>{0, 1},
                                         {p.slots() - 1, 1},
                                         {p.slots() / 3, p.slots() - p.slots() / 3}}) {
        CHECK(run(p, first, count) == std::vector<float>(whole.begin() + first * cols,
                                                         whole.begin() + (first + count) * cols));
      }
    }
  }
}

TEST_CASE("GPU gated products have the bits of SwiGLU by itself", "[fp8]") {
  if (!kernels::has_warpgroups()) return;
  for (const Product& p : kProducts) {
    if (!p.gated) continue;
    DYNAMIC_SECTION(text_of(p)) {
      Product both = p;
      both.gated = false;
      CudaBackend b({Precision::bf16, Precision::fp32});
      const Tensor gate_up = b.upload_matrix(run(both), p.slots(), p.cols);
      const Tensor out = b.allocate(p.slots(), p.out_cols(), DType::bf16);
      synchronize();
      INDEXCACHE_CUDA(kernels::swiglu({.gate_up = gate_up.data<void>(),
                                       .out = out.data<void>(),
                                       .type = kernels::Type::bf16,
                                       .rows = p.slots(),
                                       .width = p.out_cols(),
                                       .limit = p.limit},
                                      nullptr));
      synchronize();
      CHECK(run(p) == b.download(out));
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
  other.gated = true;  // in e4m3
  CHECK_FALSE(kernels::grouped_gemm_applies(other));
  other.type = kernels::Type::bf16;
  CHECK(kernels::grouped_gemm_applies(other));
  other.out_type = kernels::Type::f32;
  CHECK_FALSE(kernels::grouped_gemm_applies(other));
  other.out_type = kernels::Type::bf16;
  other.cols = 136;  // 68 columns of gate
  CHECK_FALSE(kernels::grouped_gemm_applies(other));
  other = params;
  other.groups = 0;
  CHECK_FALSE(kernels::grouped_gemm_applies(other));
}
