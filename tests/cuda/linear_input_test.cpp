// SPDX-License-Identifier: Apache-2.0
// Inputs of products that are quantized once for all of them: the same bits as a kernel of its own
// for each step, and as products that quantize by themselves.
#include "cuda/gpu.h"
#include "kernels/architecture.h"
#include "kernels/block_quantize.h"
#include "kernels/norm.h"
#include "kernels/permute.h"
#include "support/fp8.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Rows of a norm, as far apart as `stride`, which are normalized in place if `in_place`.
struct NormCase {
  std::int64_t rows, width, stride;
  DType type = DType::f32;  // of what is normalized; bf16 comes out
  bool in_place = false;
  bool layer_norm = false;
};

kernels::Type type_of(DType type) {
  return type == DType::f32 ? kernels::Type::f32 : kernels::Type::bf16;
}

// Numbers of very different sizes, a row of zeros, and one that is not a number.
std::vector<float> numbers_of(const NormCase& c) {
  auto values = random_floats(count_of(c.rows, c.stride), 80);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] *= std::ldexp(1.0f, static_cast<int>(i / 40 % 13) - 6);
  }
  std::fill_n(values.begin() + c.rows / 2 * c.stride, c.stride, 0.0f);
  values[static_cast<std::size_t>(c.width) / 3] = kPoison;
  return to_bf16(std::move(values));
}

struct NormResult {
  std::vector<float> out;  // with what lies between rows
  std::vector<float> quantized, scales;
};

// By one kernel, or by one after the other.
NormResult normalize(const NormCase& c, bool together) {
  CudaBackend b({Precision::bf16, Precision::fp32});
  const bool f32 = c.type == DType::f32;
  const auto values = numbers_of(c);
  const Tensor x =
      f32 ? b.upload(values, c.rows, c.stride) : b.upload_matrix(values, c.rows, c.stride);
  const std::vector<float> poison(values.size(), kPoison);
  const Tensor out = c.in_place ? x : b.upload_matrix(poison, c.rows, c.stride);
  const Tensor weight = b.upload(random_floats(count_of(1, c.width), 81), 1, c.width);
  const Tensor bias = b.upload(random_floats(count_of(1, c.width), 82), 1, c.width);
  const Tensor quantized = b.allocate(c.rows, c.width, DType::f8_e4m3);
  const Tensor scales = b.upload(std::vector<float>(count_of(c.rows, scale_blocks(c.width)), -1),
                                 c.rows, scale_blocks(c.width));
  synchronize();
  INDEXCACHE_CUDA(cudaMemset(quantized.data<void>(), 0x7f, count_of(c.rows, c.width)));
  INDEXCACHE_CUDA(kernels::norm({.x = x.data<void>(),
                                 .x_type = type_of(c.type),
                                 .x_stride = c.stride,
                                 .weight = weight.data<float>(),
                                 .bias = c.layer_norm ? bias.data<float>() : nullptr,
                                 .eps = 1e-6f,
                                 .out = out.data<void>(),
                                 .out_type = kernels::Type::bf16,
                                 .out_stride = c.stride,
                                 .rows = c.rows,
                                 .width = c.width,
                                 .quantized = together ? quantized.data<void>() : nullptr,
                                 .scales = together ? scales.data<float>() : nullptr},
                                nullptr));
  if (!together) {
    INDEXCACHE_CUDA(kernels::block_quantize({.x = out.data<void>(),
                                             .type = kernels::Type::bf16,
                                             .x_stride = c.stride,
                                             .out = quantized.data<void>(),
                                             .scales = scales.data<float>(),
                                             .rows = c.rows,
                                             .width = c.width},
                                            nullptr));
  }
  synchronize();
  return {b.download(out), b.download(quantized), b.download(scales)};
}

// Equal, or both not a number.
bool same_numbers(const std::vector<float>& a, const std::vector<float>& b) {
  return std::ranges::equal(a, b, [](float x, float y) {
    return x == y ? std::signbit(x) == std::signbit(y) : std::isnan(x) && std::isnan(y);
  });
}

// Scatters rows of `bytes` bytes, `gap` further apart, and of 6 bytes next to them, or not.
void check_scattered(std::int64_t rows, int used, std::int64_t bytes, std::int64_t gap,
                     bool second) {
  INFO(rows << " rows of " << bytes << " + " << gap << " bytes to " << used);
  CudaBackend b({Precision::bf16, Precision::fp32});
  constexpr std::int64_t kSecond = 6;
  std::vector<std::int32_t> slots(count_of(rows, used));
  for (std::size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<std::int32_t>(i);
  std::shuffle(slots.begin(), slots.end(), std::mt19937(5));
  const auto filled = [](std::int64_t count) {
    std::vector<std::uint8_t> values(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<std::uint8_t>(i * 37 + i / 251);
    }
    return values;
  };
  const auto place = [&](std::int64_t count) {
    const Tensor tensor = b.allocate(1, count, DType::i8);
    synchronize();
    INDEXCACHE_CUDA(cudaMemset(tensor.data<void>(), 0xee, static_cast<std::size_t>(count)));
    return tensor;
  };
  const std::int64_t widths[] = {bytes, kSecond}, strides[] = {bytes + gap, kSecond};
  kernels::ScatterParams params{};
  std::vector<Tensor> from, to;
  const Tensor d_slots = b.upload(std::span<const std::int32_t>(slots), rows, used);
  for (params.matrices = 0; params.matrices < (second ? 2 : 1); ++params.matrices) {
    const auto m = static_cast<std::size_t>(params.matrices);
    const auto values = filled(rows * strides[m]);
    from.push_back(place(rows * strides[m]));
    to.push_back(place(rows * used * widths[m]));
    INDEXCACHE_CUDA(
        cudaMemcpy(from[m].data<void>(), values.data(), values.size(), cudaMemcpyHostToDevice));
    params.rows_of[m] = {from[m].data<void>(), strides[m], to[m].data<void>(), widths[m]};
  }
  params.slot_of = d_slots.data<std::int32_t>();
  params.rows = rows;
  params.used = used;
  INDEXCACHE_CUDA(kernels::scatter(params, nullptr));
  for (std::size_t m = 0; m < to.size(); ++m) {
    std::vector<std::uint8_t> actual(count_of(rows * used, widths[m]));
    INDEXCACHE_CUDA(
        cudaMemcpy(actual.data(), to[m].data<void>(), actual.size(), cudaMemcpyDeviceToHost));
    const auto values = filled(rows * strides[m]);
    std::vector<std::uint8_t> expected(actual.size());
    for (std::size_t i = 0; i < slots.size(); ++i) {
      std::copy_n(values.begin() + static_cast<std::int64_t>(i) / used * strides[m], widths[m],
                  expected.begin() + slots[i] * widths[m]);
    }
    CHECK(actual == expected);
  }
}

}  // namespace

TEST_CASE("GPU norms quantize what they write as two kernels do", "[fp8]") {
  for (const NormCase& c : {NormCase{9, 7168, 7168},
                            {37, 128, 128},
                            {3, 1024, 1040},
                            {5, 1536, 1536, DType::bf16, true},
                            {5, 1536, 3072, DType::bf16},
                            {17, 400, 416, DType::bf16},
                            {1, 8, 8},
                            {4, 2056, 2064},
                            {2, 8192, 8192},
                            {2, 8208, 8208},  // more than stay in registers
                            {3, 130, 131},    // not in groups of eight
                            {3, 1300, 1301, DType::bf16},
                            {6, 272, 272, DType::f32, false, true}}) {
    INFO(c.rows << " x " << c.width << " of " << c.stride << " " << name_of(c.type));
    const NormResult expected = normalize(c, false), actual = normalize(c, true);
    CHECK(same_numbers(actual.out, expected.out));
    CHECK(same_numbers(actual.quantized, expected.quantized));
    CHECK(same_numbers(actual.scales, expected.scales));
  }
}

TEST_CASE("GPU rows are copied to all of their slots, with their scales") {
  for (const bool second : {false, true}) {
    check_scattered(5, 2, 272, 0, second);
    check_scattered(67, 8, 7168, 16, second);
    check_scattered(33, 1, 26, 4, second);
    check_scattered(3, 32, 16, 2, second);
  }
}

TEST_CASE("GPU products of rows that are quantized already have the same bits", "[fp8]") {
  if (!kernels::has_warpgroups()) return;
  CudaBackend b({Precision::fp8, Precision::fp8});
  const RowLayout rows = ragged_rows();
  const std::int64_t hidden = 272, width = 256;
  const auto residual = random_floats(count_of(rows.total, hidden), 84);
  const Tensor norm = b.upload(random_floats(count_of(1, hidden), 85), 1, hidden);
  const Tensor plain = b.allocate(rows.total, hidden, DType::bf16);
  const LinearInput x =
      b.normalized_input(rows, b.upload(residual, rows.total, hidden), norm, 1e-6f, plain);
  REQUIRE_FALSE(x.quantized.empty());
  REQUIRE(x.plain.data<void>() == plain.data<void>());
  const LinearInput again = b.linear_input(plain);
  CHECK(b.download(again.quantized) == b.download(x.quantized));
  CHECK(b.download(again.scales) == b.download(x.scales));
  CHECK(x.columns(0, hidden).quantized.data<void>() == x.quantized.data<void>());
  CHECK(x.columns(0, 128).quantized.empty());

  ExpertWeights experts;
  for (std::uint32_t e = 0; e < 6; ++e) {
    experts.gate_up.push_back(Fp8Matrix(2 * width, hidden, 90 + e).put(b));
    experts.down.push_back(Fp8Matrix(hidden, width, 96 + e).put(b));
  }
  std::vector<std::int32_t> chosen;
  for (std::int32_t r = 0; r < rows.total; ++r) chosen.insert(chosen.end(), {r % 3, 4});
  const Routing routing{
      b.upload(std::span<const std::int32_t>(chosen), rows.total, 2),
      b.upload(std::vector<float>(count_of(rows.total, 2), 0.75f), rows.total, 2)};
  const auto run = [&](const LinearInput& in) {
    const Tensor out = b.upload(residual, rows.total, hidden);
    const Tensor wide = b.upload(random_floats(count_of(rows.total, 512), 86), rows.total, 512);
    b.linear(rows, in, experts.gate_up[3], wide, Store::accumulate);
    b.experts(rows, in, routing, experts, out);
    b.gated_mlp(rows, in, experts.gate_up[1], experts.down[1], out);
    auto results = b.download(out);
    const auto of_linear = b.download(wide);
    results.insert(results.end(), of_linear.begin(), of_linear.end());
    return results;
  };
  const auto by_itself = run(plain);
  CHECK(run(x) == by_itself);
  CHECK(std::ranges::none_of(by_itself, [](float value) { return std::isnan(value); }));
}
