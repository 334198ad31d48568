// SPDX-License-Identifier: Apache-2.0
// FP8 matrices that stay FP8 on their way to a device that multiplies them as deployed.
#include "backend/cpu/cpu_backend.h"
#include "core/error.h"
#include "model/block_fp8.h"
#include "model/families/families.h"
#include "model/model.h"
#include "model/model_weights.h"
#include "model/synthetic_weights.h"
#include "support/catch.h"
#include "support/fp8_model.h"

#include <map>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr Placement kEverywhere[] = {Placement::resident, Placement::stream, Placement::disk};

struct LoadedFp8 {
  explicit LoadedFp8(const std::filesystem::path& folder, Placement placement = Placement::stream,
                     Precision precision = Precision::fp8)
      : model(open_model(folder)),
        backend(1, precision),
        weights(model.config, model.checkpoint, model.has_indexer, backend, placement) {}

  std::vector<float> of(std::int64_t layer, Tensor LayerWeights::*member) {
    return backend.download(weights.layer(layer).*member);
  }

  Model model;
  CpuBackend backend;
  ModelWeights weights;
};

std::map<std::string, Tensor> matrices_of(const LayerWeights& w) {
  std::map<std::string, Tensor> tensors = {{"q_a", w.q_a},
                                           {"q_b", w.q_b},
                                           {"kv_a", w.kv_a},
                                           {"o", w.o},
                                           {"k_absorb", w.k_absorb},
                                           {"v_absorb", w.v_absorb},
                                           {"wq_b", w.indexer->wq_b},
                                           {"wk", w.indexer->wk},
                                           {"weights_proj", w.indexer->weights_proj},
                                           {"mlp.gate_up", w.mlp->gate_up},
                                           {"mlp.down", w.mlp->down}};
  if (!w.moe) return tensors;
  tensors["router"] = w.moe->gate;
  for (std::size_t e = 0; e < w.moe->experts.down.size(); ++e) {
    tensors[fmt::format("gate_up.{}", e)] = w.moe->experts.gate_up[e];
    tensors[fmt::format("down.{}", e)] = w.moe->experts.down[e];
  }
  return tensors;
}

// The tensor with this name, to be damaged.
template <typename Change>
void change_tensor(const std::filesystem::path& folder, const std::string& name,
                   const Change& change) {
  auto tensors = read_safetensors(folder / "model.safetensors");
  bool found = false;
  for (StoredTensor& tensor : tensors) {
    if (tensor.name != name) continue;
    change(tensor);
    found = true;
  }
  REQUIRE(found);
  write_safetensors(folder / "model.safetensors", tensors);
}

Fp8Count count_of(const std::filesystem::path& folder, WeightTypes types = {DType::f32, true}) {
  const Model model = open_model(folder);
  return weight_sizes(model.config, model.checkpoint, model.has_indexer, types).fp8;
}

}  // namespace

TEST_CASE("plain products stay in FP8 with their scales, everything else is dequantized") {
  const Fp8Model files;
  LoadedFp8 kept(files.folder.path());
  LoadedFp8 widened(files.folder.path(), Placement::stream, Precision::fp32);
  for (const std::int64_t layer : {0, 3}) {
    const auto fp8 = matrices_of(kept.weights.layer(layer));
    const auto f32 = matrices_of(widened.weights.layer(layer));
    for (const auto& [name, tensor] : fp8) {
      INFO("layer " << layer << " " << name);
      const bool plain = !name.ends_with("absorb") && name != "weights_proj" && name != "router";
      CHECK((tensor.dtype() == DType::f8_e4m3) == plain);
      CHECK(tensor.scales().empty() == !plain);
      CHECK(kept.backend.download(tensor) == widened.backend.download(f32.at(name)));
    }
  }
}

TEST_CASE("FP8 layers are the same wherever they wait, pass after pass") {
  const Fp8Model files;
  LoadedFp8 resident(files.folder.path(), Placement::resident);
  for (const Placement placement : kEverywhere) {
    LoadedFp8 moving(files.folder.path(), placement);
    for (int pass = 0; pass < 3; ++pass) {
      for (std::int64_t layer = 0; layer < 4; ++layer) {
        INFO(name_of(placement) << " layer " << layer);
        const auto actual = matrices_of(moving.weights.layer(layer));
        const auto expected = matrices_of(resident.weights.layer(layer));
        REQUIRE(actual.size() == expected.size());
        for (const auto& [name, tensor] : actual) {
          CHECK(moving.backend.download(tensor) == resident.backend.download(expected.at(name)));
        }
      }
    }
  }
}

TEST_CASE("FP8 weights take a byte per number, on the device as planned") {
  const Fp8Model files;
  for (const Placement placement : kEverywhere) {
    LoadedFp8 loaded(files.folder.path(), placement);
    for (std::int64_t layer = 0; layer < 4; ++layer) loaded.weights.layer(layer);
    const auto held =
        loaded.backend.memory_use().current[static_cast<std::size_t>(Memory::weights)];
    CHECK(held <= loaded.weights.bytes() + 1024);
    CHECK(held >= loaded.weights.bytes() * 9 / 10);
  }
  const Model model = open_model(files.folder.path());
  const auto sizes = [&](WeightTypes types) {
    return weight_sizes(model.config, model.checkpoint, model.has_indexer, types);
  };
  const WeightSizes fp8 = sizes({DType::bf16, true}), bf16 = sizes({DType::bf16, false});
  CHECK(static_cast<double>(fp8.layers) < 0.6 * static_cast<double>(bf16.layers));
  CHECK(fp8.outer == bf16.outer);
  CHECK(fp8.stored == bf16.stored);
  CHECK(bf16.fp8.kept == 0);
  CHECK(bf16.fp8.stored == fp8.fp8.stored);
}

TEST_CASE("scales in BF16 and E8M0 become the same float32 scales") {
  std::vector<std::vector<float>> values;
  for (const char* type : {"BF16", "F8_E8M0"}) {
    const Fp8Model files({.scale_type = type});
    LoadedFp8 loaded(files.folder.path());
    const Tensor o = loaded.weights.layer(1).o;
    REQUIRE(o.dtype() == DType::f8_e4m3);
    values.push_back(loaded.backend.download(o));
    values.push_back(loaded.backend.download(o.scales()));
    for (const float scale : values.back()) CHECK(is_power_of_two(scale));
  }
  CHECK(values[0] == values[2]);
  CHECK(values[1] == values[3]);
}

TEST_CASE("FP8 matrices that products cannot take as they are stored are dequantized and counted") {
  const Fp8Model files;
  const Fp8Count all = count_of(files.folder.path());
  // Per layer q_a, q_b, kv_a, o, wq_b, wk; gate, up, down of one MLP, and of 8 experts in three.
  CHECK(all.stored == 4 * (6 + 3) + 3 * 8 * 3);
  CHECK(all.kept == all.stored);
  CHECK(count_of(files.folder.path(), {DType::f32, false}).kept == 0);

  // Rows of gate that end inside a block: up would begin there.
  const Fp8Model narrow({.moe_intermediate = 144});
  CHECK(count_of(narrow.folder.path()).stored == all.stored);
  CHECK(count_of(narrow.folder.path()).kept == all.stored - 3 * (2 + 2 * 8));

  // One expert in BF16: products of all of them are one launch.
  const std::string down = "model.layers.2.mlp.experts.5.down_proj.weight";
  change_tensor(files.folder.path(), down, [](StoredTensor& tensor) {
    tensor.dtype = "BF16";
    tensor.bytes += std::string(tensor.bytes.size(), '\0');
  });
  change_tensor(files.folder.path(), scale_name(kDeepseekV32, down),
                [](StoredTensor& tensor) { tensor.name = "model.layers.4.unread"; });
  CHECK(count_of(files.folder.path()).kept == all.stored - 8);
  CHECK(count_of(files.folder.path()).stored == all.stored - 1);
  LoadedFp8 loaded(files.folder.path());
  for (const Tensor& expert : loaded.weights.layer(2).moe->experts.down) {
    CHECK(expert.dtype() == DType::f32);
  }
  CHECK(loaded.weights.layer(2).moe->experts.gate_up.front().dtype() == DType::f8_e4m3);

  // Another size of blocks, of one matrix.
  const Fp8Model other;
  change_tensor(other.folder.path(), "model.layers.1.self_attn.o_proj.weight_scale_inv",
                [](StoredTensor& tensor) {
                  tensor.shape = {4, 4};
                  tensor.bytes = bytes_of(std::vector<float>(16, 0.01f));
                });
  CHECK(count_of(other.folder.path()).kept == all.stored - 1);
  CHECK(count_of(golden("deepseek_v32_tiny")).stored == 0);
}

TEST_CASE("NaN codes and scales that are not finite are named where their layer is asked for") {
  const std::string matrix = "model.layers.2.mlp.experts.3.up_proj.weight";
  const auto check = [&](const std::string& tensor, const std::string& bytes, std::size_t at) {
    const Fp8Model files;
    change_tensor(files.folder.path(), tensor,
                  [&](StoredTensor& stored) { stored.bytes.replace(at, bytes.size(), bytes); });
    for (const Placement placement : kEverywhere) {
      LoadedFp8 loaded(files.folder.path(), placement);
      loaded.weights.layer(1);
      try {
        loaded.weights.layer(2);
        FAIL("nothing was noticed");
      } catch (const InputError& error) {
        CHECK_THAT(error.describe(), Contains("layers.2.mlp.experts.3.up_proj.weight"));
      }
      CHECK_NOTHROW(loaded.weights.layer(3));
    }
  };
  check(matrix, "\x7f", 5000);
  check(matrix, "\xff", 0);
  check(scale_name(kDeepseekV32, matrix), bytes_of({std::numeric_limits<float>::infinity()}), 4);
  check(scale_name(kDeepseekV32, matrix), bytes_of({std::numeric_limits<float>::quiet_NaN()}), 0);
}

TEST_CASE("synthetic weights of an FP8 device are those of an FP8 checkpoint") {
  const Fp8Model files;
  const ModelConfig config = read_config(files.folder.path());
  CpuBackend backend(1, Precision::fp8), widened(1);
  SyntheticWeights fp8(config, backend, false), f32(config, widened, false);
  LoadedFp8 stored(files.folder.path());
  for (const std::int64_t layer : {0, 2}) {
    const auto expected = matrices_of(stored.weights.layer(layer));
    for (const auto& [name, tensor] : matrices_of(fp8.layer(layer))) {
      INFO("layer " << layer << " " << name);
      CHECK(tensor.dtype() == expected.at(name).dtype());
      double squares = 0;
      const auto values = backend.download(tensor);
      for (const float value : values) squares += double{value} * value;
      const double mean = squares / static_cast<double>(values.size());
      CHECK(mean * static_cast<double>(tensor.cols()) == Approx(1).margin(0.1));
    }
  }
  const auto close = [](std::int64_t a, std::int64_t b) {
    CHECK(static_cast<double>(a) == Approx(static_cast<double>(b)).epsilon(0.01));
  };
  close(fp8.bytes(), SyntheticWeights::bytes_of(config, backend.weight_types(), false));
  close(f32.bytes(), SyntheticWeights::bytes_of(config, widened.weight_types(), false));
  CHECK(fp8.bytes() < f32.bytes() / 2);
}
