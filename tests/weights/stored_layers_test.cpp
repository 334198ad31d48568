// SPDX-License-Identifier: Apache-2.0
// Host memory that several devices share.
#include "model/stored_layers.h"

#include "backend/cpu/cpu_backend.h"
#include "core/error.h"
#include "model/model.h"
#include "model/model_weights.h"
#include "support/catch.h"
#include "support/files.h"

#include <cstring>
#include <deque>
#include <optional>
#include <thread>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Devices that share stored layers.
struct SharedWeights {
  SharedWeights(const std::filesystem::path& folder, Placement placement, std::size_t devices)
      : model(open_model(folder)),
        stored(std::make_shared<StoredLayers>(
            model.checkpoint,
            weight_sizes(model.config, model.checkpoint, model.has_indexer, {DType::f32}),
            model.config.layers, placement, devices)) {
    for (std::size_t d = 0; d < devices; ++d) {
      backends.emplace_back(1);
      weights.emplace_back(model.config, model.checkpoint, model.has_indexer, backends.back(),
                           stored);
    }
  }

  Model model;
  std::shared_ptr<StoredLayers> stored;
  std::deque<CpuBackend> backends;
  std::deque<ModelWeights> weights;
};

// The output projection of every layer, in one pass.
std::vector<float> one_pass(CpuBackend& backend, ModelWeights& weights, std::int64_t layers) {
  std::vector<float> all;
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const auto values = backend.download(weights.layer(layer).o);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

}  // namespace

TEST_CASE("devices that work at the same time get the same layers, wherever these wait") {
  SharedWeights alone(golden("deepseek_v32_fp8_tiny"), Placement::resident, 1);
  const std::int64_t layers = alone.model.config.layers;
  const auto expected = one_pass(alone.backends[0], alone.weights[0], layers);
  for (const Placement placement : {Placement::resident, Placement::stream, Placement::disk}) {
    INFO(name_of(placement));
    constexpr std::size_t kDevices = 3;
    SharedWeights shared(golden("deepseek_v32_fp8_tiny"), placement, kDevices);
    std::vector<std::vector<float>> found(kDevices);
    {
      std::vector<std::jthread> threads;
      for (std::size_t d = 0; d < kDevices; ++d) {
        threads.emplace_back([&, d] {
          for (int pass = 0; pass < 20; ++pass) {
            found[d] = one_pass(shared.backends[d], shared.weights[d], layers);
          }
        });
      }
    }
    for (const auto& of_device : found) CHECK(of_device == expected);
    if (placement == Placement::stream) CHECK(shared.stored->reads() == layers);
  }
}

TEST_CASE("resident layers may be asked for in any order before all of them are there") {
  SharedWeights alone(golden("deepseek_v32_tiny"), Placement::resident, 1);
  const std::int64_t layers = alone.model.config.layers;
  const auto expected = one_pass(alone.backends[0], alone.weights[0], layers);
  SharedWeights shared(golden("deepseek_v32_tiny"), Placement::resident, 2);
  for (const std::int64_t layer : {2, 1, 0, 1}) shared.weights[0].layer(layer);
  CHECK(one_pass(shared.backends[0], shared.weights[0], layers) == expected);
  CHECK(one_pass(shared.backends[1], shared.weights[1], layers) == expected);
}

TEST_CASE("streamed layers take host memory once, layers from disk twice per device") {
  SharedWeights shared(golden("deepseek_v32_tiny"), Placement::stream, 4);
  const WeightSizes& sizes = shared.stored->sizes();
  CHECK(sizes.host(Placement::stream, 4) == sizes.stored);
  CHECK(sizes.host(Placement::disk, 4) == 8 * sizes.largest_stored);
  CHECK(sizes.host(Placement::disk) == 2 * sizes.largest_stored);
}

TEST_CASE("devices in step pass through the same few blobs, and each layer is read once") {
  constexpr std::size_t kDevices = 4;
  SharedWeights shared(golden("deepseek_v32_tiny"), Placement::resident, kDevices);
  const std::int64_t layers = shared.model.config.layers;
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    for (auto& weights : shared.weights) weights.layer(layer);
  }
  CHECK(shared.stored->reads() == layers);
  // One in use, and one that is read ahead.
  CHECK(shared.stored->blobs() <= 2);
}

TEST_CASE("a layer that a device holds is not overwritten") {
  SharedWeights shared(golden("deepseek_v32_tiny"), Placement::disk, 1);
  const Model& model = shared.model;
  CpuBackend backend(1);
  const std::atomic<bool> stop{false};
  const auto get = [&](std::int64_t layer) {
    const auto layout = lay_out_layer(
        model.config, model.checkpoint, model.has_indexer[static_cast<std::size_t>(layer)], layer,
        {DType::f32}, [&](std::int64_t rows, std::int64_t cols, DType dtype) {
          return backend.allocate(rows, cols, dtype);
        });
    return std::pair(shared.stored->get(layer, layout, backend, stop), layout.blob_bytes);
  };
  const auto [held, bytes] = get(0);
  const std::vector<std::byte> before(held.get(), held.get() + bytes);
  for (std::int64_t layer = 1; layer < model.config.layers; ++layer) get(layer);
  CHECK(std::memcmp(held.get(), before.data(), before.size()) == 0);
  CHECK(get(0).first == held);  // and it is still known
}

TEST_CASE("a shard that cannot be read fails on every device that wants it") {
  const TempFolder folder;
  copy_folder(golden("deepseek_v32_tiny"), folder / "model");
  std::optional<SharedWeights> shared;
  shared.emplace(folder / "model", Placement::disk, 2);
  std::vector<std::filesystem::path> shards;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "model")) {
    if (entry.path().extension() == ".safetensors") shards.push_back(entry.path());
  }
  REQUIRE_FALSE(shards.empty());
  for (const auto& shard : shards) std::filesystem::resize_file(shard, 0);
  for (ModelWeights& weights : shared->weights) CHECK_THROWS_AS(weights.layer(0), ResourceError);
  for (ModelWeights& weights : shared->weights) CHECK_THROWS_AS(weights.layer(0), ResourceError);
}
