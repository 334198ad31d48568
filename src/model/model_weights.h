// SPDX-License-Identifier: Apache-2.0
// The weights of a checkpoint on a device that may be smaller than they are. While a layer is in
// use, a loader thread reads, copies and converts the next one.
#pragma once

#include "model/layer_layout.h"
#include "model/weights.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

namespace indexcache {

// Where weights are kept between two passes over the layers.
enum class Placement {
  resident,  // all of them on the device
  stream,    // as stored, in host memory (pinned for a GPU); two layers on the device
  disk,      // in the shards, read again each pass; two layers on the device, two in host memory
};

constexpr std::string_view name_of(Placement placement) {
  return placement == Placement::resident ? "resident"
         : placement == Placement::stream ? "stream"
                                          : "disk";
}

// Bytes that weights take, from headers.
struct WeightSizes {
  std::int64_t outer;           // on the device: embedding, final norm, lm_head
  std::int64_t layers;          // on the device: all layers
  std::int64_t largest_layer;   // on the device
  std::int64_t stored;          // of all layers, as blobs
  std::int64_t largest_stored;  // of one layer, as a blob

  std::int64_t device(Placement placement) const;
  std::int64_t host(Placement placement) const;
};
WeightSizes weight_sizes(const ModelConfig& config, const Checkpoint& checkpoint,
                         const std::vector<bool>& has_indexer, DType activation);

// The first placement that leaves a quarter of the device to the sweep (resident), or that takes at
// most half of the host's memory (stream); else disk.
Placement choose_placement(const WeightSizes& sizes, std::int64_t device_bytes,
                           std::int64_t host_bytes);

// What the loader has done so far.
struct LoadTimes {
  std::int64_t bytes = 0;  // of blobs, uploaded
  double seconds = 0;      // reading and copying, possibly while layers were in use
};

class ModelWeights : public WeightSource {
 public:
  // Loads the weights outside the layers; the references must outlive the object.
  ModelWeights(const ModelConfig& config, const Checkpoint& checkpoint,
               const std::vector<bool>& has_indexer, Device& backend, Placement placement);
  ~ModelWeights() override;
  ModelWeights(const ModelWeights&) = delete;
  ModelWeights& operator=(const ModelWeights&) = delete;

  // Throws InputError naming the tensor when a number is not finite, ResourceError when a shard
  // cannot be read. Layers may be requested in any order; only the cyclic ascending order finds
  // them loaded ahead.
  const LayerWeights& layer(std::int64_t layer) override;

  bool is_stable() const override { return placement_ == Placement::resident; }
  Placement placement() const { return placement_; }
  const WeightSizes& sizes() const { return sizes_; }
  LoadTimes load_times() const;
  // Bytes on the device after every layer has been visited.
  std::int64_t bytes() const;

 private:
  // Memory on the device for one layer after another.
  struct Slot {
    Tensor memory;
    std::int64_t layer = -1;
    LayerWeights weights;
  };
  // A layer on its way.
  struct Job {
    std::int64_t layer;
    LayerBlobLayout layout;
    std::shared_ptr<void> mark;
  };
  // The stored bytes of a layer in host memory.
  struct LayerBlob {
    std::shared_ptr<std::byte> bytes;
    std::int64_t capacity = 0;
    std::int64_t layer = -1;
  };

  Tensor load_outer(WeightRole role);
  void request(std::int64_t layer);
  LayerWeights await();
  void work();
  void execute(const Job& job);
  LayerBlob& blob_of(std::int64_t layer, const BlobLayout& layout);
  void read_ahead(std::int64_t layer);
  LayerBlobLayout lay_out(std::int64_t layer, const AllocateTensor& allocate) const;
  void check_finite(std::int64_t layer) const;

  const ModelConfig& config_;
  const Checkpoint& checkpoint_;
  const std::vector<bool>& has_indexer_;
  Device& backend_;
  Placement placement_;
  WeightSizes sizes_;
  Tensor zero_bias_;  // of routers without a correction bias
  std::unique_ptr<WeightUploader> uploader_;

  std::vector<std::optional<LayerWeights>> resident_;  // by layer
  Slot slots_[2];
  std::size_t current_ = 0;  // the slot in use; the other one is being filled
  std::vector<LayerBlob> blobs_;

  // One job at a time: handed over under the mutex, its result taken back the same way.
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Job> job_;
  std::int64_t requested_ = -1;
  bool done_ = false;
  std::exception_ptr failure_;
  LoadTimes load_times_;
  std::atomic<bool> stop_{false};
  std::thread loader_;
};

}  // namespace indexcache
