// SPDX-License-Identifier: Apache-2.0
// Row layouts as kernels read them, kept on the device while they are being reused.
#pragma once

#include "backend/cuda/device_memory.h"
#include "backend/tensor.h"
#include "kernels/types.h"

#include <list>
#include <memory>

namespace indexcache::cuda {

// Rows of one layout with the key rows that they see in another.
struct DeviceRows {
  const kernels::RowPlace* places;      // [rows]
  const kernels::KeySegment* segments;  // [segment_count], without empty ones
  int segment_count;
  int most_rows;  // of a segment
  int most_keys;  // most candidates of a row
  int longest;    // highest position + 1
};

class LayoutCache {
 public:
  LayoutCache(DeviceMemory& memory, cudaStream_t stream) : memory_(memory), stream_(stream) {}

  // `keys` has a segment for each of `rows`. The result stays valid until 64 other layouts have
  // been requested, in the stream's order.
  const DeviceRows& get(const RowLayout& rows, const RowLayout& keys);

 private:
  struct Entry {
    std::vector<Segment> rows, keys;
    std::shared_ptr<void> places, segments;
    DeviceRows device;
  };

  Entry make(const RowLayout& rows, const RowLayout& keys);
  template <typename T>
  std::shared_ptr<void> upload(const std::vector<T>& values);

  DeviceMemory& memory_;
  cudaStream_t stream_;
  std::list<Entry> entries_;  // the latest first
};

}  // namespace indexcache::cuda
