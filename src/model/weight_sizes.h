// SPDX-License-Identifier: Apache-2.0
// Where weights are kept, and how many bytes they take there.
#pragma once

#include "io/checkpoint.h"
#include "model/config.h"
#include "model/layer_layout.h"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace indexcache {

// Where weights are kept between two passes over the layers.
enum class Placement {
  resident,  // all of them on each device
  stream,    // as stored, in host memory (pinned for GPUs), once; two layers on each device
  disk,      // in the shards, read again each pass; two layers on the device, and two per device
             // in host memory
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
  Fp8Count fp8 = {};            // of all layers

  std::int64_t device(Placement placement) const;
  // Of one process, whose devices share it.
  std::int64_t host(Placement placement, std::size_t devices = 1) const;
};
WeightSizes weight_sizes(const ModelConfig& config, const Checkpoint& checkpoint,
                         const std::vector<bool>& has_indexer, WeightTypes types);

// The first placement that leaves a quarter of the device to the sweep (resident), or that takes at
// most half of the host's memory (stream); else disk.
Placement choose_placement(const WeightSizes& sizes, std::int64_t device_bytes,
                           std::int64_t host_bytes);

}  // namespace indexcache
