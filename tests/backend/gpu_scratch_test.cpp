// SPDX-License-Identifier: Apache-2.0
// What operations of a GPU take: no GPU is needed to know it.
#include "backend/gpu_scratch.h"

#include "backend/cpu/cpu_backend.h"
#include "support/catch.h"

using namespace indexcache;

namespace {

// Only its types are a GPU's.
class TypesOfGpu : public CpuBackend {
 public:
  explicit TypesOfGpu(Precision compute) : CpuBackend(1), compute_(compute) {}
  DType activation() const override {
    return compute_ == Precision::fp32 ? DType::f32 : DType::bf16;
  }
  bool keeps_fp8() const override { return compute_ == Precision::fp8; }

 private:
  Precision compute_;
};

ModelShape attention_shape(std::int64_t heads, std::int64_t rank, std::int64_t rope,
                           std::int64_t topk) {
  ModelShape shape{};
  shape.heads = heads;
  shape.latent_width = rank + rope;
  shape.kv_lora_rank = rank;
  shape.index_topk = topk;
  return shape;
}

ModelShape released(std::int64_t heads) {
  return attention_shape(heads, 512, 64, 2048);
}

}  // namespace

TEST_CASE("rows are quantized only on GPUs that multiply in FP8") {
  const TypesOfGpu fp32(Precision::fp32), bf16(Precision::bf16), fp8(Precision::fp8);
  for (const std::int64_t width : {32, 7168}) {
    CHECK(gpu_linear_row_bytes(fp32, width) == 0);
    CHECK(gpu_linear_row_bytes(bf16, width) == 0);
  }
  CHECK(gpu_linear_row_bytes(fp8, 7168) == 7168 + 4 * 56);
  CHECK(gpu_linear_row_bytes(fp8, 32) == 32 + 4);
  CHECK(gpu_linear_row_bytes(fp8, 129) == 129 + 4 * 2);

  CHECK(gpu_mlp_row_bytes(fp32, 7168, 18432) == 4 * 3 * 18432);
  CHECK(gpu_mlp_row_bytes(bf16, 7168, 18432) == 2 * 3 * 18432);
  CHECK(gpu_mlp_row_bytes(fp8, 7168, 18432) == 2 * 3 * 18432 + 18432 + 4 * 144);
  CHECK(gpu_mlp_row_bytes(fp8, 32, 16) == 2 * 3 * 16 + 32 + 4);
}

TEST_CASE("queries with few heads share tiles of sparse attention, on Hopper more of them") {
  const auto packing = [](const ModelShape& shape, bool is_hopper) {
    return set_packing(shape, DType::bf16, is_hopper);
  };
  const SetPacking none;
  CHECK(packing(released(20), true) == SetPacking{3, 1365});
  CHECK(packing(released(32), true) == SetPacking{2, 1365});
  CHECK(packing(released(8), true) == SetPacking{8, 1365});
  CHECK(packing(released(4), true) == SetPacking{8, 1365});  // the most queries of a pack
  CHECK(packing(released(8), false) == SetPacking{2, 2048});
  CHECK(packing(released(20), false) == none);
  for (const bool is_hopper : {false, true}) {
    INFO(is_hopper);
    CHECK(packing(released(64), is_hopper) == none);
    CHECK(packing(released(128), is_hopper) == none);
    CHECK(packing(attention_shape(4, 96, 32, 40), is_hopper) == SetPacking{4, 40});
    CHECK(packing(attention_shape(9, 96, 32, 40), is_hopper) == none);
    CHECK(packing(attention_shape(4, 96, 8, 40), is_hopper) == none);    // no whole sixteens
    CHECK(packing(attention_shape(4, 512, 80, 40), is_hopper) == none);  // too wide
    CHECK(packing(attention_shape(0, 96, 32, 40), is_hopper) == none);
    CHECK(set_packing(released(8), DType::f32, is_hopper) == none);
    ModelShape windowed = released(8), dense = released(8);
    windowed.window = 128;
    dense.dense = ExpandedShape{128, 64, 128};
    CHECK(packing(windowed, is_hopper) == none);
    CHECK(packing(dense, is_hopper) == none);
  }
}

TEST_CASE("attention of a GPU takes memory for packs, or none") {
  // A key is 4 bytes and another for the queries that have it; a pack is 24, a row in none 4.
  for (const Precision compute : {Precision::bf16, Precision::fp8}) {
    const TypesOfGpu gpu(compute);
    CHECK(gpu_attention_row_bytes(gpu, released(20), true) == 5 * (1365 + 3) + 24 + 4);
    CHECK(gpu_attention_row_bytes(gpu, released(20), false) == 0);
    CHECK(gpu_attention_row_bytes(gpu, released(8), false) == 5 * (2048 + 3) + 24 + 4);
    CHECK(gpu_attention_row_bytes(gpu, released(128), true) == 0);
    CHECK(gpu_attention_row_bytes(gpu, attention_shape(4, 96, 32, 40), true) == 5 * 43 + 24 + 4);
  }
  CHECK(gpu_attention_row_bytes(TypesOfGpu(Precision::fp32), released(20), true) == 0);
}

TEST_CASE("slots for uploads to a GPU take a sixteenth of a memory limit, or a MiB each") {
  constexpr std::int64_t kMiB = 1 << 20;
  CHECK(uploader_slot_bytes(141'000 * kMiB) == 64 * kMiB);
  CHECK(uploader_slot_bytes(480 * kMiB) == 10 * kMiB);
  CHECK(uploader_slot_bytes(0) == kMiB);
}

TEST_CASE("logits of a GPU take a limited number of bytes, or as little as possible") {
  constexpr std::int64_t kGiB = std::int64_t{1} << 30;
  CHECK(gpu_logits_chunk(141 * kGiB) == kGiB);
  CHECK(gpu_logits_chunk(8 * kGiB) == kGiB / 2);
  CHECK(gpu_logits_chunk(0) == 1 << 20);
  ModelShape shape{};
  shape.vocabulary = 1000;
  // All rows: of an indexer with a float for each position, or of tokens, twice for a comparison.
  CHECK(gpu_logits_bytes(shape, 100, 5000, kGiB) == 4 * 5000 * 100);
  CHECK(gpu_logits_bytes(shape, 100, 500, kGiB) == 4 * 2000 * 100);
  // As many rows as fit, but a whole chunk of an indexer's.
  CHECK(gpu_logits_bytes(shape, 100'000, 5000, 50'000'000) == 50'000'000);
  CHECK(gpu_logits_bytes(shape, 100'000, 5000, 1000) == 4 * 5000 * 256);
  shape.vocabulary = 1'000'000;
  CHECK(gpu_logits_bytes(shape, 100'000, 16, 1000) == 4 * 2'000'000);
}
