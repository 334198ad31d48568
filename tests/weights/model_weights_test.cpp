// SPDX-License-Identifier: Apache-2.0
// Layers on their way from shards to the device: the same numbers wherever they wait, and errors of
// the loader's thread where the layer is asked for.
#include "model/model_weights.h"

#include "backend/cpu/cpu_backend.h"
#include "core/error.h"
#include "model/dequantize.h"
#include "model/model.h"
#include "support/catch.h"
#include "support/files.h"

#include <cstring>
#include <limits>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr Placement kPlacements[] = {Placement::resident, Placement::stream, Placement::disk};

// Everything of a layer, one tensor after the other.
std::vector<float> numbers(CpuBackend& backend, const LayerWeights& w) {
  std::vector<float> all;
  const auto add = [&](const Tensor& tensor) {
    const auto values = backend.download(tensor);
    all.insert(all.end(), values.begin(), values.end());
  };
  for (const Tensor* tensor : {&w.attention_input.norm, &w.q_a, &w.q_b, &w.kv_a, &w.k_absorb,
                               &w.v_absorb, &w.o, &w.mlp_input.norm}) {
    add(*tensor);
  }
  if (w.indexer) add(w.indexer->wq_b);
  if (w.mlp) add(w.mlp->gate_up);
  if (w.moe) {
    add(w.moe->correction_bias);
    for (const Tensor& tensor : w.moe->experts.down) add(tensor);
  }
  return all;
}

struct Loaded {
  explicit Loaded(const std::filesystem::path& folder, Placement placement)
      : model(open_model(folder)),
        weights(model.config, model.checkpoint, model.has_indexer, backend, placement) {}

  Model model;
  CpuBackend backend{1};
  ModelWeights weights;
};

}  // namespace

TEST_CASE("layers are the same wherever they wait, in any order, pass after pass") {
  for (const std::string& name : kGoldenModels) {
    Loaded resident(golden(name), Placement::resident);
    const std::int64_t layers = resident.model.config.layers;
    std::vector<std::vector<float>> expected;
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      expected.push_back(numbers(resident.backend, resident.weights.layer(layer)));
    }
    for (const Placement placement : kPlacements) {
      Loaded moving(golden(name), placement);
      const auto check = [&](std::int64_t layer) {
        INFO(name << " " << name_of(placement) << " layer " << layer);
        CHECK(numbers(moving.backend, moving.weights.layer(layer)) ==
              expected[static_cast<std::size_t>(layer)]);
      };
      for (int pass = 0; pass < 3; ++pass) {
        for (std::int64_t layer = 0; layer < layers; ++layer) check(layer);
      }
      for (const std::int64_t layer : {3, 3, 1, 5, 0, 5, 4, 2}) check(layer % layers);
    }
  }
}

TEST_CASE("absorbed kv_b and block scales equal the dequantized tensor on the host") {
  Loaded loaded(golden("deepseek_v32_fp8_tiny"), Placement::stream);
  const ModelConfig& c = loaded.model.config;
  const auto kv_b =
      read_floats(c, loaded.model.checkpoint, "model.layers.2.self_attn.kv_b_proj.weight");
  const LayerWeights& weights = loaded.weights.layer(2);
  const auto keys = loaded.backend.download(weights.k_absorb);
  const auto values = loaded.backend.download(weights.v_absorb);
  const std::int64_t nope = c.qk_nope_head_dim, value = c.v_head_dim, rank = c.kv_lora_rank;
  for (std::int64_t head = 0; head < c.heads; ++head) {
    for (std::int64_t r = 0; r < rank; ++r) {
      for (std::int64_t d = 0; d < nope; ++d) {
        REQUIRE(keys[static_cast<std::size_t>((head * rank + r) * nope + d)] ==
                kv_b[static_cast<std::size_t>((head * (nope + value) + d) * rank + r)]);
      }
      for (std::int64_t d = 0; d < value; ++d) {
        REQUIRE(values[static_cast<std::size_t>((head * value + d) * rank + r)] ==
                kv_b[static_cast<std::size_t>((head * (nope + value) + nope + d) * rank + r)]);
      }
    }
  }
}

TEST_CASE("a number that is not finite is named where its layer is asked for, and only there") {
  const TempFolder folder;
  copy_folder(golden("deepseek_v32_tiny"), folder.path());
  auto tensors = read_safetensors(folder / "model.safetensors");
  for (StoredTensor& tensor : tensors) {
    if (tensor.name != "model.layers.3.self_attn.o_proj.weight") continue;
    const float infinite = std::numeric_limits<float>::infinity();
    std::memcpy(tensor.bytes.data() + 40, &infinite, sizeof infinite);
  }
  write_safetensors(folder / "model.safetensors", tensors);
  for (const Placement placement : kPlacements) {
    Loaded loaded(folder.path(), placement);
    for (std::int64_t layer = 0; layer < 3; ++layer) loaded.weights.layer(layer);
    try {
      loaded.weights.layer(3);
      FAIL("nothing was noticed");
    } catch (const InputError& error) {
      CHECK_THAT(error.describe(), Contains("layers.3.self_attn.o_proj.weight"));
    }
    CHECK_NOTHROW(loaded.weights.layer(4));
  }
}

TEST_CASE("a shard that shrinks is an error at the next layer that it held, not a crash") {
  for (const Placement placement : kPlacements) {
    const TempFolder folder;
    copy_folder(golden("deepseek_v32_tiny"), folder.path());
    Loaded loaded(folder.path(), placement);
    loaded.weights.layer(0);
    std::filesystem::resize_file(folder / "model.safetensors", 5000);
    bool refused = false;
    for (std::int64_t layer = 1; layer < 6; ++layer) {
      try {
        loaded.weights.layer(layer);
      } catch (const ResourceError& error) {
        CHECK_THAT(error.describe(),
                   Contains("model.safetensors") && Contains("when it was opened"));
        refused = true;
      }
    }
    CHECK(refused);
  }
}

TEST_CASE("several readers fill one blob, each byte at its place") {
  const TempFolder folder;
  std::string bytes(std::size_t{48} << 20, '\0');
  for (std::size_t i = 0; i < bytes.size(); i += 512) bytes[i] = static_cast<char>(i / 512 % 251);
  const auto size = static_cast<std::int64_t>(bytes.size());
  write_safetensors(folder / "model.safetensors", {{"w", "U8", {size}, bytes}});
  const Checkpoint checkpoint(folder.path());
  std::vector<BlobPart> parts;
  const std::int64_t piece = size / 16;
  for (std::int64_t p = 0; p < 16; ++p) {  // the tensor's pieces in reverse order
    parts.push_back({"w", (15 - p) * piece, piece, p * piece, false});
  }
  std::vector<std::byte> blob(bytes.size());
  read_blob(checkpoint, parts, blob.data(), std::atomic<bool>(false));
  for (std::int64_t p = 0; p < 16; ++p) {
    CHECK(std::memcmp(blob.data() + p * piece, bytes.data() + (15 - p) * piece,
                      static_cast<std::size_t>(piece)) == 0);
  }
  std::filesystem::resize_file(folder / "model.safetensors", 1 << 20);
  CHECK_THROWS_AS(read_blob(checkpoint, parts, blob.data(), std::atomic<bool>(false)),
                  ResourceError);
}

TEST_CASE("a checkpoint that config.json implies has the sizes of the one that is there") {
  for (const char* name : {"deepseek_v32_tiny", "deepseek_v32_fp8_tiny", "glm_moe_dsa_fp8_tiny"}) {
    const Model there = open_model(golden(name)), expected = expect_model(golden(name));
    CHECK(expected.has_indexer == there.has_indexer);
    const WeightSizes a =
        weight_sizes(there.config, there.checkpoint, there.has_indexer, {DType::f32});
    const WeightSizes b =
        weight_sizes(expected.config, expected.checkpoint, expected.has_indexer, {DType::f32});
    INFO(name);
    CHECK(a.outer == b.outer);
    // The golden models store what is not quantized in float32.
    CHECK(static_cast<double>(b.layers) == Approx(static_cast<double>(a.layers)).epsilon(0.02));
    CHECK(b.stored <= a.stored);
  }
}

TEST_CASE("weights may be let go while a layer is under way") {
  for (const Placement placement : kPlacements) {
    for (std::int64_t layers = 0; layers < 4; ++layers) {
      Loaded loaded(golden("deepseek_v32_tiny"), placement);
      for (std::int64_t layer = 0; layer < layers; ++layer) loaded.weights.layer(layer);
    }
  }
}

TEST_CASE("sizes of weights are those that loading takes") {
  for (const Placement placement : kPlacements) {
    Loaded loaded(golden("glm_moe_dsa_fp8_tiny"), placement);
    for (std::int64_t layer = 0; layer < loaded.model.config.layers; ++layer) {
      loaded.weights.layer(layer);
    }
    const auto held =
        loaded.backend.memory_use().current[static_cast<std::size_t>(Memory::weights)];
    // The zero bias of routers is beside what a model's tensors take; slots are cut at 256 bytes.
    CHECK(held <= loaded.weights.bytes() + 1024);
    CHECK(held >= loaded.weights.bytes() * 9 / 10);
  }
}
