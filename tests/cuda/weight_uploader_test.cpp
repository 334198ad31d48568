// SPDX-License-Identifier: Apache-2.0
// Stored weights on their way to the GPU: the numbers of the CPU's uploader, in any batching.
#include "cuda/gpu.h"
#include "support/catch.h"
#include "support/fp8.h"

#include <limits>
#include <random>

using namespace indexcache;
using namespace indexcache::test;

namespace {

struct Matrix {
  DType dtype;
  std::int64_t rows, cols;
  HeadRows heads;
  DType scales = DType::f32;
};

constexpr DType kByte = DType::f8_e8m0;

// Partial blocks, columns that no vector divides, every code of FP4 and FP8 but NaN, both sides of
// kv_b, and scales of either type.
const std::vector<Matrix> kMatrices = {{DType::f8_e4m3, 131, 260, {131, 0, 131, false}},
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

std::int64_t rounded(std::int64_t bytes) {
  return (bytes + kBlobGrain - 1) / kBlobGrain * kBlobGrain;
}

// Copies of kMatrices with their places, without a target.
std::vector<WeightCopy> copies_of_blob(std::int64_t& bytes) {
  std::vector<WeightCopy> copies;
  bytes = 0;
  for (const Matrix& m : kMatrices) {
    WeightCopy copy{{.dtype = m.dtype, .rows = m.rows, .cols = m.cols}, m.heads, {}};
    if (m.dtype == DType::f8_e4m3 || m.dtype == DType::i8) {
      copy.from.block_rows = m.dtype == DType::i8 ? 1 : 128;
      copy.from.block_cols = m.dtype == DType::i8 ? 32 : 128;
      copy.from.scales_at = bytes;
      copy.from.scales_dtype = m.scales;
      const auto blocks = [](std::int64_t extent, std::int64_t block) {
        return (extent + block - 1) / block;
      };
      bytes += rounded(static_cast<std::int64_t>(size_of(m.scales)) *
                       blocks(m.rows, copy.from.block_rows) * blocks(m.cols, copy.from.block_cols));
    }
    copy.from.at = bytes;
    bytes = rounded(copy.from.end());
    copies.push_back(copy);
  }
  return copies;
}

void fill(std::byte* blob, const std::vector<WeightCopy>& copies) {
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

std::vector<std::vector<float>> loaded(Backend& backend, bool* finite = nullptr,
                                       bool damaged = false) {
  std::int64_t bytes = 0;
  std::vector<WeightCopy> copies = copies_of_blob(bytes);
  const auto blob = backend.allocate_host(bytes);
  fill(blob.get(), copies);
  const float infinite = std::numeric_limits<float>::infinity();
  if (damaged) std::memcpy(blob.get() + copies.back().from.at, &infinite, 4);
  for (WeightCopy& copy : copies) {
    const std::int64_t taken = copy.from.rows / copy.heads.rows * copy.heads.count;
    const std::int64_t rows =
        copy.heads.transposed ? copy.from.rows / copy.heads.rows * copy.from.cols : taken;
    const std::int64_t cols = copy.heads.transposed ? copy.heads.count : copy.from.cols;
    copy.out = backend.allocate(rows, cols, backend.activation(), Memory::weights);
  }
  const auto uploader = backend.make_weight_uploader();
  uploader->begin(backend.mark());
  uploader->load(blob.get(), copies);
  const bool all_finite = uploader->finish();
  if (finite != nullptr) *finite = all_finite;
  std::vector<std::vector<float>> values;
  for (const WeightCopy& copy : copies) values.push_back(backend.download(copy.out));
  return values;
}

}  // namespace

TEST_CASE("GPU weights arrive as on the CPU, in fp32 and rounded to bf16") {
  CpuBackend cpu;
  auto expected = loaded(cpu);
  Gpu exact(Precision::fp32), rounding(Precision::bf16);
  CHECK(loaded(exact.backend) == expected);
  for (auto& values : expected) values = to_bf16(std::move(values));
  CHECK(loaded(rounding.backend) == expected);
}

TEST_CASE("GPU weights arrive alike through slots that hold one matrix or a part of the blob") {
  CpuBackend cpu;
  const auto expected = loaded(cpu);
  Gpu gpu(Precision::fp32);
  gpu.backend.limit_memory(1 << 20);  // the smallest slots
  CHECK(loaded(gpu.backend) == expected);
}

TEST_CASE("GPU uploaders leave memory alone until work that was queued before has used it",
          "[cublas]") {
  constexpr std::int64_t kSide = 4096;  // 64 MiB in float32, as much as a slot
  Gpu gpu(Precision::fp32);
  CudaBackend& b = gpu.backend;
  RowLayout rows;
  rows.append(kSide, 0);
  Tensor x = b.upload(random_floats(count_of(kSide, kSide), 9), kSide, kSide);
  const Tensor product = b.allocate(kSide, kSide);
  b.linear(rows, x, x, product, Store::assign);
  const auto expected = b.download(product);
  const WeightCopy copy{{.dtype = DType::f32, .rows = kSide, .cols = kSide},
                        {kSide, 0, kSide, false},
                        b.allocate(kSide, kSide, DType::f32, Memory::weights)};
  const auto blob = b.allocate_host(copy.from.end());
  std::memset(blob.get(), 0, static_cast<std::size_t>(copy.from.end()));

  const auto mark = b.mark();
  for (int i = 0; i < 20; ++i) b.linear(rows, x, x, product, Store::assign);  // outlasts the copy
  x = {};  // its memory goes to a slot
  const auto uploader = b.make_weight_uploader();
  uploader->begin(mark);
  uploader->load(blob.get(), std::span(&copy, 1));
  CHECK(uploader->finish());
  CHECK(b.download(product) == expected);
}

TEST_CASE("GPU weights that stay FP8 have the same numbers with scales of a byte") {
  Gpu gpu(Precision::fp8);
  Fp8Matrix matrix(144, 272, 4);
  matrix.round_scales();
  const auto bytes = gpu.backend.download(matrix.put(gpu.backend));
  matrix.byte_scales = false;
  CHECK(bytes == gpu.backend.download(matrix.put(gpu.backend)));
}

TEST_CASE("GPU and CPU uploaders report numbers that are not finite, and forget them") {
  Gpu gpu(Precision::fp32);
  CpuBackend cpu;
  for (Backend* backend : {static_cast<Backend*>(&gpu.backend), static_cast<Backend*>(&cpu)}) {
    bool finite = true;
    loaded(*backend, &finite, true);
    CHECK_FALSE(finite);
    loaded(*backend, &finite, false);
    CHECK(finite);
  }
}

TEST_CASE("GPU and CPU uploaders narrow tables, and report numbers out of range") {
  Gpu gpu(Precision::bf16);
  CpuBackend cpu;
  const std::vector<std::int64_t> good = {0, 6, 3, 1, 5, 2};
  for (Backend* backend : {static_cast<Backend*>(&gpu.backend), static_cast<Backend*>(&cpu)}) {
    const auto uploaded = [&](const std::vector<std::int64_t>& numbers) {
      const auto bytes = static_cast<std::int64_t>(numbers.size() * sizeof(std::int64_t));
      const auto blob = backend->allocate_host(bytes);
      std::memcpy(blob.get(), numbers.data(), static_cast<std::size_t>(bytes));
      const WeightCopy copy{{.dtype = DType::i64, .rows = 3, .cols = 2},
                            {3, 0, 3, false},
                            backend->allocate(3, 2, DType::i32, Memory::weights),
                            7};
      const auto uploader = backend->make_weight_uploader();
      uploader->begin(backend->mark());
      uploader->load(blob.get(), std::span(&copy, 1));
      const bool valid = uploader->finish();
      return std::pair{valid, backend->download_indices(copy.out)};
    };
    CHECK(uploaded(good) == std::pair{true, std::vector<std::int32_t>{0, 6, 3, 1, 5, 2}});
    for (const std::int64_t bad :
         {std::int64_t{-1}, std::int64_t{7}, std::int64_t{1} << 32, std::int64_t{1} << 62}) {
      std::vector<std::int64_t> numbers = good;
      numbers[4] = bad;
      CHECK_FALSE(uploaded(numbers).first);
    }
    CHECK(uploaded(good).first);
  }
}
