// SPDX-License-Identifier: Apache-2.0
#include "model/stored_indexer.h"

#include "core/dtype.h"
#include "core/narrow.h"
#include "model/dequantize.h"
#include "model/families/families.h"
#include "model/model.h"
#include "support/catch.h"
#include "support/compare.h"
#include "support/files.h"
#include "support/random.h"
#include "support/refusal.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// A config whose indexer tensors are as small as its numbers.
ModelConfig tiny_config() {
  ModelConfig config{};
  config.family = &kDeepseekV32;
  config.moe_layer.assign(2, false);
  config.index_heads = 2, config.index_head_dim = 4, config.q_lora_rank = 3, config.hidden = 5;
  config.fp8_block_rows = config.fp8_block_cols = 2;
  return config;
}

TrainedIndexer tiny_indexer() {
  return {.layer = 1,
          .wq_b = random_floats(24, 1),
          .wk = random_floats(20, 2),
          .k_norm = random_floats(4, 3),
          .k_norm_bias = random_floats(4, 4),
          .weights_proj = random_floats(10, 5)};
}

std::string zeros(std::size_t bytes) {
  return std::string(bytes, '\0');
}

// A checkpoint of that indexer: F16, F8_E4M3 with scales of a type, F32, BF16, F32.
struct TinyCheckpoint {
  TinyCheckpoint(const std::string& scale_type, const std::string& scales,
                 std::vector<std::int64_t> scale_shape = {2, 3}) {
    const std::string p = "model.layers.1.self_attn.indexer.";
    write_safetensors(folder / "model.safetensors",
                      {{p + "wq_b.weight", "F16", {8, 3}, zeros(48)},
                       {p + "wk.weight", "F8_E4M3", {4, 5}, zeros(20)},
                       {p + "wk.weight_scale_inv", scale_type, scale_shape, scales},
                       {p + "k_norm.weight", "F32", {4}, zeros(16)},
                       {p + "k_norm.bias", "BF16", {4}, zeros(8)},
                       {p + "weights_proj.weight", "F32", {2, 5}, zeros(40)}});
  }
  StoredIndexer quantize(const TrainedIndexer& indexer) const {
    return quantize_indexer(tiny_config(), Checkpoint(folder.path()), indexer);
  }
  TempFolder folder;
};

const EncodedTensor& find(const StoredIndexer& indexer, std::string_view ending) {
  return *std::ranges::find_if(indexer.tensors,
                               [&](const EncodedTensor& t) { return t.name.ends_with(ending); });
}

std::vector<float> scales_of(const StoredIndexer& indexer) {
  const EncodedTensor& scales = find(indexer, "wk.weight_scale_inv");
  return widen(scales.dtype, scales.bytes);
}

void check_same_storage(const Checkpoint& checkpoint, const StoredIndexer& stored) {
  for (const EncodedTensor& tensor : stored.tensors) {
    const RawTensor& source = checkpoint.tensor(tensor.name);
    CHECK(tensor.dtype == source.dtype);
    CHECK(tensor.shape == source.shape);
    CHECK(static_cast<std::int64_t>(tensor.bytes.size()) == source.bytes);
  }
}

}  // namespace

TEST_CASE("every tensor is rounded to the type of its source") {
  const TinyCheckpoint tiny("F32", bytes_of({1, 1, 1, 1, 1, 3}));
  const TrainedIndexer trained = tiny_indexer();
  const StoredIndexer stored = tiny.quantize(trained);
  check_same_storage(Checkpoint(tiny.folder.path()), stored);
  CHECK(stored.tensors.size() == 6);
  CHECK(stored.dequantized.layer == 1);
  CHECK(stored.dequantized.k_norm == trained.k_norm);
  CHECK(stored.dequantized.weights_proj == trained.weights_proj);
  for (std::size_t i = 0; i < trained.wq_b.size(); ++i) {
    CHECK(stored.dequantized.wq_b[i] == f16_to_float(float_to_f16(trained.wq_b[i])));
  }
  for (std::size_t i = 0; i < trained.k_norm_bias.size(); ++i) {
    CHECK(stored.dequantized.k_norm_bias[i] ==
          bf16_to_float(float_to_bf16(trained.k_norm_bias[i])));
  }
}

TEST_CASE("the largest magnitude of a block becomes 448, other values are within half a step") {
  const TinyCheckpoint tiny("F32", bytes_of({1, 1, 1, 1, 1, 3}));
  TrainedIndexer trained = tiny_indexer();
  trained.wk[4] = trained.wk[9] = 0;  // the block of rows 0 and 1, column 4
  const StoredIndexer stored = tiny.quantize(trained);
  const std::vector<float> scales = scales_of(stored);
  CHECK(scales[2] == 1);
  for (std::size_t i = 0; i < trained.wk.size(); ++i) {
    const std::size_t row = i / 5, col = i % 5;
    const float scale = scales[row / 2 * 3 + col / 2], magnitude = std::abs(trained.wk[i]) / scale;
    CHECK(magnitude <= 448.001f);
    const float step =
        magnitude < 0x1p-6f ? 0x1p-9f : std::exp2(std::floor(std::log2(magnitude))) / 8;
    CHECK(std::abs(stored.dequantized.wk[i] - trained.wk[i]) <= 0.5001f * step * scale);
  }
  const float largest = std::max({std::abs(trained.wk[0]), std::abs(trained.wk[1]),
                                  std::abs(trained.wk[5]), std::abs(trained.wk[6])});
  CHECK(scales[0] == Approx(largest / 448));
}

TEST_CASE("scales stay powers of two where all of the source are") {
  const TrainedIndexer trained = tiny_indexer();
  for (const auto& [type, bytes] :
       {std::pair<std::string, std::string>{"F32", bytes_of({1, 2, 4, 0.5f, 1, 1})},
        {"F8_E8M0", "\x7f\x80\x7f\x7e\x7f\x7f"}}) {
    const TinyCheckpoint tiny(type, bytes);
    const StoredIndexer stored = tiny.quantize(trained);
    check_same_storage(Checkpoint(tiny.folder.path()), stored);
    const std::vector<float> scales = scales_of(stored);
    CHECK(std::ranges::all_of(scales, is_power_of_two));
    const float largest = std::max({std::abs(trained.wk[0]), std::abs(trained.wk[1]),
                                    std::abs(trained.wk[5]), std::abs(trained.wk[6])});
    CHECK(largest / scales[0] <= 448);
    CHECK(largest / scales[0] > 224);
  }
}

TEST_CASE("scales may be BF16 or one-dimensional, and values tiny") {
  TrainedIndexer trained = tiny_indexer();
  for (float& value : trained.wk) value *= 1e-40f;
  const TinyCheckpoint tiny("BF16", zeros(12)), rows("F32", bytes_of({3, 3, 3, 3}), {4});
  CHECK_CLOSE(tiny.quantize(tiny_indexer()).dequantized.wk, tiny_indexer().wk, 0.04);
  CHECK_CLOSE(rows.quantize(tiny_indexer()).dequantized.wk, tiny_indexer().wk, 0.04);
  const StoredIndexer small = tiny.quantize(trained);
  for (float value : small.dequantized.wk) CHECK(std::abs(value) <= 1e-40f);
}

TEST_CASE("values that cannot be stored are refused") {
  const TinyCheckpoint tiny("F32", bytes_of({1, 1, 1, 1, 1, 1}));
  TrainedIndexer infinite = tiny_indexer(), large = tiny_indexer();
  infinite.wk[7] = std::numeric_limits<float>::infinity();
  CHECK_THAT(refusal_of([&] { tiny.quantize(infinite); }),
             Contains("a trained weight cannot be stored") && Contains("layers.1") &&
                 Contains("indexer.wk.weight") && Contains("element 7 is not finite"));
  infinite.wk[7] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THAT(refusal_of([&] { tiny.quantize(infinite); }), Contains("element 7 is not finite"));
  large.wq_b[3] = 70000;
  CHECK_THAT(refusal_of([&] { tiny.quantize(large); }),
             Contains("wq_b.weight") && Contains("element 3 is too large for F16"));
}

TEST_CASE("what a checkpoint holds is stored again as it is") {
  for (const char* name : {"deepseek_v32_fp8_tiny", "deepseek_v32_tiny", "glm_moe_dsa_fp8_tiny"}) {
    const Model model = open_model(golden(name));
    const TrainedIndexer indexer = read_indexer(model.config, model.checkpoint, 2);
    const StoredIndexer stored = quantize_indexer(model.config, model.checkpoint, indexer);
    check_same_storage(model.checkpoint, stored);
    CHECK(stored.tensors.size() == stored_indexer_names(model.config, model.checkpoint, 2).size());
    if (name == std::string("glm_moe_dsa_fp8_tiny")) {  // its scales are any numbers
      CHECK_CLOSE(stored.dequantized.wq_b, indexer.wq_b, 1e-6);
      CHECK_CLOSE(stored.dequantized.wk, indexer.wk, 1e-6);
      continue;
    }
    CHECK(stored.dequantized == indexer);
    const bool fp8 = name == std::string("deepseek_v32_fp8_tiny");
    CHECK(model.has_fp8 == fp8);
    if (fp8) CHECK(std::ranges::all_of(scales_of(stored), is_power_of_two));
  }
}
