// SPDX-License-Identifier: Apache-2.0
// The weights of a checkpoint on a device that may be smaller than they are. While a layer is in
// use, a loader thread reads, copies and converts the next one. Several devices share what they
// have in host memory.
#pragma once

#include "model/layer_layout.h"
#include "model/stored_layers.h"
#include "model/weight_sizes.h"
#include "model/weights.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace indexcache {

// What the loader has done so far.
struct LoadTimes {
  std::int64_t bytes = 0;  // of blobs, uploaded
  double seconds = 0;      // reading and copying, possibly while layers were in use
};

class ModelWeights : public WeightSource {
 public:
  // Loads the weights outside the layers; the references must outlive the object. `stored` is of
  // the same checkpoint, activation() and placement.
  ModelWeights(const ModelConfig& config, const Checkpoint& checkpoint,
               const std::vector<bool>& has_indexer, Device& backend,
               std::shared_ptr<StoredLayers> stored);
  // On the only device.
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
  Tensor load_outer(const WeightRow& row);
  void request(std::int64_t layer);
  LayerWeights await();
  void work();
  void execute(const Job& job);
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
  std::shared_ptr<StoredLayers> stored_;
  StoredLayers::Blob ahead_;  // of the layer that the loader has read ahead

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
