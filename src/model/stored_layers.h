// SPDX-License-Identifier: Apache-2.0
// Layers as the shards store them, in host memory, for all devices of a process: each is read from
// disk by one device and copied by every device that wants it.
#pragma once

#include "backend/device.h"
#include "model/layer_layout.h"
#include "model/weight_sizes.h"

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace indexcache {

class StoredLayers {
 public:
  // The bytes of a layer, which stay as long as somebody holds them.
  using Blob = std::shared_ptr<const std::byte>;

  // Placement::stream keeps all layers; otherwise at most two per device are kept, for resident
  // weights fewer if devices ask for the same layers at about the same time. `checkpoint` must
  // outlive the object.
  StoredLayers(const Checkpoint& checkpoint, const WeightSizes& sizes, std::int64_t layers,
               Placement placement, std::size_t devices);

  // Reads the layer unless it is there, or waits while another device reads it. `layout` is that of
  // the layer, and `device` allocates memory if it is needed. A device may hold one other layer
  // meanwhile. Throws ResourceError if a shard cannot be read; returns null, or an unfinished blob,
  // once `stop` is set.
  Blob get(std::int64_t layer, const BlobLayout& layout, Device& device,
           const std::atomic<bool>& stop);

  Placement placement() const { return placement_; }
  const WeightSizes& sizes() const { return sizes_; }
  // Layers that were read from shards so far.
  std::int64_t reads() const;
  // Blobs that memory was allocated for so far.
  std::size_t blobs() const;

 private:
  struct Slot {
    std::shared_ptr<std::byte> bytes;
    std::int64_t layer = -1;
    bool ready = false;    // else its layer is being read
    std::size_t gets = 0;  // of its layer, by devices; those with resident weights get it once
    std::int64_t used = 0;
  };

  Slot* find(std::int64_t layer);
  Slot& take(std::int64_t layer);
  Blob read(Slot& slot, const BlobLayout& layout, Device& device, const std::atomic<bool>& stop);
  void forget(const BlobLayout& layout) const;

  const Checkpoint& checkpoint_;
  WeightSizes sizes_;
  Placement placement_;
  std::size_t devices_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Slot> slots_;
  std::int64_t uses_ = 0;
  std::int64_t reads_ = 0;
};

}  // namespace indexcache
