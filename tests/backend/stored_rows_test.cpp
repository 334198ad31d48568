// SPDX-License-Identifier: Apache-2.0
// Parts of stored matrices: what arrives is what arrives of the whole.
#include "backend/stored_rows.h"

#include "backend/cpu/cpu_backend.h"
#include "support/catch.h"
#include "support/stored_blob.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::vector<float> uploaded(CpuBackend& cpu, const std::byte* blob,
                            const std::vector<WeightCopy>& copies, const Tensor& out) {
  const auto uploader = cpu.make_weight_uploader();
  uploader->begin(cpu.mark());
  uploader->load(blob, copies);
  CHECK(uploader->finish());
  return cpu.download(out);
}

// Parts of at most `bytes` bring the numbers of the whole matrix, and each row once.
void check_parts(const StoredShape& shape, std::int64_t bytes, std::size_t expected_parts) {
  CpuBackend cpu;
  std::int64_t blob_bytes = 0;
  std::vector<WeightCopy> whole = copies_of_blob({shape}, blob_bytes), again = whole;
  const auto blob = cpu.allocate_host(blob_bytes);
  fill_blob(blob.get(), whole);
  allocate_targets(cpu, whole);
  allocate_targets(cpu, again);
  const std::vector<WeightCopy> parts = cut_rows(again.front(), bytes);
  CHECK(parts.size() == expected_parts);
  std::int64_t rows = 0, out_rows = 0;
  for (const WeightCopy& part : parts) {
    CHECK(part.from.bytes() <= bytes);
    rows += part.from.rows;
    out_rows += part.out.rows();
  }
  CHECK(rows == shape.rows);
  CHECK(out_rows == again.front().out.rows());
  CHECK(uploaded(cpu, blob.get(), parts, again.front().out) ==
        uploaded(cpu, blob.get(), whole, whole.front().out));
}

}  // namespace

TEST_CASE("parts of stored matrices are whole rows, blocks and heads within the bytes") {
  check_parts({DType::f32, 10, 64, {10, 0, 10, false}}, 1'536, 3);
  check_parts({DType::bf16, 10, 64, {5, 0, 5, false}}, 1'152, 2);
  check_parts({DType::bf16, 30, 20, {10, 0, 4, true}}, 1'400, 2);
  check_parts({DType::bf16, 30, 20, {10, 4, 6, false}}, 1'000, 3);
  check_parts({DType::f8_e4m3, 400, 260, {400, 0, 400, false}}, 70'000, 2);
  check_parts({DType::f8_e4m3, 400, 260, {400, 0, 400, false}, kByte}, 34'000, 4);
  check_parts({DType::f8_e4m3, 576, 8, {96, 0, 64, true}}, 4'000, 2);
  check_parts({DType::i8, 31, 96, {31, 0, 31, false}, kByte}, 2'200, 1);
  check_parts({DType::i8, 31, 96, {31, 0, 31, false}, kByte}, 1'400, 2);
}

TEST_CASE("a block of scales and a head are not divided, however few the bytes") {
  CpuBackend cpu;
  std::int64_t bytes = 0;
  std::vector<WeightCopy> copies = copies_of_blob({{DType::f8_e4m3, 400, 260, {400, 0, 400, false}},
                                                   {DType::bf16, 30, 20, {10, 4, 6, false}},
                                                   {DType::f8_e4m3, 576, 8, {96, 0, 64, true}}},
                                                  bytes);
  allocate_targets(cpu, copies);
  CHECK(cut_rows(copies[0], 1).size() == 4);
  CHECK(cut_rows(copies[0], 1).back().from.rows == 400 - 3 * 128);
  CHECK(cut_rows(copies[1], 1).size() == 3);
  CHECK(cut_rows(copies[2], 1).size() == 2);  // 384 rows are three blocks and four heads
}

TEST_CASE("parts of FP8 that stays FP8 have their own scales") {
  CpuBackend cpu(1, Precision::fp8);
  std::int64_t bytes = 0;
  std::vector<WeightCopy> copies =
      copies_of_blob({{DType::f8_e4m3, 400, 272, {400, 0, 400, false}}}, bytes);
  const Tensor scales = cpu.allocate(4, 3, DType::f32, Memory::weights);
  copies[0].out = cpu.allocate(400, 272, DType::f8_e4m3, Memory::weights).with_scales(scales);
  const std::vector<WeightCopy> parts = cut_rows(copies[0], 40'000);
  REQUIRE(parts.size() == 4);
  CHECK(parts[3].out.rows() == 400 - 3 * 128);
  CHECK(parts[3].out.data<std::byte>() == copies[0].out.data<std::byte>() + 3 * 128 * 272);
  CHECK(parts[3].out.scales().data<float>() == scales.data<float>() + 3 * 3);
  CHECK(parts[3].out.scales().rows() == 1);
}
