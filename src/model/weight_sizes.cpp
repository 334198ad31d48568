// SPDX-License-Identifier: Apache-2.0
#include "model/weight_sizes.h"

#include "model/slot_layout.h"
#include "model/tensor_registry.h"

#include <algorithm>
#include <functional>

namespace indexcache {

std::int64_t WeightSizes::device(Placement placement) const {
  return outer + (placement == Placement::resident ? layers : 2 * largest_layer);
}

std::int64_t WeightSizes::host(Placement placement, std::size_t devices) const {
  return placement == Placement::stream ? stored
                                        : 2 * static_cast<std::int64_t>(devices) * largest_stored;
}

WeightSizes weight_sizes(const ModelConfig& config, const Checkpoint& checkpoint,
                         const std::vector<bool>& has_indexer, WeightTypes types) {
  WeightSizes sizes{};
  for (const WeightRow& row : config.family->outer_weights(config)) {
    sizes.outer += checkpoint.tensor(row.names.front()).elements() *
                   static_cast<std::int64_t>(size_of(device_type(row, types.activation)));
  }
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    CountingAllocator counted;
    const BlobLayout layout = lay_out_layer(
        config, checkpoint, config.is_marked(has_indexer, layer), layer, types, std::ref(counted));
    sizes.layers += counted.bytes();
    sizes.largest_layer = std::max(sizes.largest_layer, counted.bytes());
    sizes.stored += layout.blob_bytes;
    sizes.fp8.stored += layout.fp8.stored;
    sizes.fp8.kept += layout.fp8.kept;
    sizes.largest_stored = std::max(sizes.largest_stored, layout.blob_bytes);
  }
  return sizes;
}

Placement choose_placement(const WeightSizes& sizes, std::int64_t device_bytes,
                           std::int64_t host_bytes) {
  if (sizes.device(Placement::resident) <= device_bytes / 4 * 3) return Placement::resident;
  return sizes.host(Placement::stream) <= host_bytes / 2 ? Placement::stream : Placement::disk;
}

}  // namespace indexcache
