// SPDX-License-Identifier: Apache-2.0
// Stored weights on their way to the GPU: the numbers of the CPU's uploader, in any batching.
#include "cuda/gpu.h"
#include "support/catch.h"
#include "support/fp8.h"
#include "support/stored_blob.h"

#include <limits>
#include <random>

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::vector<std::vector<float>> loaded(Backend& backend, const std::vector<StoredShape>& shapes,
                                       bool* finite = nullptr, bool damaged = false) {
  std::int64_t bytes = 0;
  std::vector<WeightCopy> copies = copies_of_blob(shapes, bytes);
  const auto blob = backend.allocate_host(bytes);
  fill_blob(blob.get(), copies);
  const float infinite = std::numeric_limits<float>::infinity();
  if (damaged) std::memcpy(blob.get() + copies.back().from.at, &infinite, 4);
  allocate_targets(backend, copies);
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
  auto expected = loaded(cpu, kSmallShapes);
  Gpu exact(Precision::fp32), rounding(Precision::bf16);
  CHECK(loaded(exact.backend, kSmallShapes) == expected);
  for (auto& values : expected) values = to_bf16(std::move(values));
  CHECK(loaded(rounding.backend, kSmallShapes) == expected);
}

TEST_CASE("GPU weights arrive alike through slots that hold one matrix or a part of the blob") {
  CpuBackend cpu;
  const auto expected = loaded(cpu, kSmallShapes);
  Gpu gpu(Precision::fp32);
  gpu.backend.limit_memory(1 << 20);  // the smallest slots
  CHECK(loaded(gpu.backend, kSmallShapes) == expected);
}

TEST_CASE("GPU matrices that are larger than a slot arrive alike, and slots do not grow") {
  const std::vector<StoredShape> shapes = {{DType::f8_e4m3, 1100, 2052, {1100, 0, 1100, false}},
                                           {DType::f8_e4m3, 700, 2052, {700, 0, 700, false}, kByte},
                                           {DType::bf16, 7, 5, {7, 0, 7, false}},
                                           {DType::bf16, 1001, 640, {1001, 0, 1001, false}},
                                           {DType::f32, 900, 520, {900, 0, 900, false}},
                                           {DType::bf16, 6000, 132, {20, 0, 8, true}},
                                           {DType::bf16, 6000, 132, {20, 8, 12, false}},
                                           {DType::f8_e4m3, 6000, 516, {48, 0, 32, true}},
                                           {DType::i8, 5001, 640, {5001, 0, 5001, false}, kByte},
                                           {DType::f32, 1, 6, {1, 0, 1, false}}};
  CpuBackend cpu;
  Gpu gpu(Precision::fp32);
  gpu.backend.limit_memory(1 << 20);  // the smallest slots
  const auto weights = static_cast<std::size_t>(Memory::weights);
  const auto actual = loaded(gpu.backend, shapes);
  CHECK(actual == loaded(cpu, shapes));
  std::int64_t bytes = 0;
  for (const auto& values : actual) bytes += static_cast<std::int64_t>(values.size()) * 4;
  CHECK(gpu.backend.memory_use().peak[weights] <= bytes + gpu.backend.uploader_bytes() + 1024);
}

TEST_CASE("GPU uploaders leave memory alone until work that was queued before has used it") {
  constexpr std::int64_t kSide = 4096;  // 64 MiB in float32, as much as a slot
  Gpu gpu(Precision::fp32);
  CudaBackend& b = gpu.backend;
  RowLayout rows;
  rows.append(kSide, 0);
  const auto values = random_floats(count_of(kSide, kSide), 9);
  Tensor x = b.upload(values, kSide, kSide);
  const Tensor product = b.allocate(kSide, kSide);
  b.linear(rows, x, x, product, Store::assign);
  const auto expected = b.download(product);
  std::int64_t bytes = 0;
  std::vector<WeightCopy> copies =
      copies_of_blob({{DType::f32, kSide, kSide, {kSide, 0, kSide, false}}}, bytes);
  const auto blob = b.allocate_host(bytes);
  std::memset(blob.get(), 0, static_cast<std::size_t>(bytes));
  allocate_targets(b, copies);

  const auto mark = b.mark();
  for (int i = 0; i < 20; ++i)
    b.linear(rows, x, x, product, Store::assign);  // longer than the transfer
  x = {};                                          // its memory goes to a slot
  const auto uploader = b.make_weight_uploader();
  uploader->begin(mark);
  uploader->load(blob.get(), copies);
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
    loaded(*backend, kSmallShapes, &finite, true);
    CHECK_FALSE(finite);
    loaded(*backend, kSmallShapes, &finite, false);
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
