// SPDX-License-Identifier: Apache-2.0
// Device memory by kind, in the order of one stream: freed memory serves the next allocation at
// once, and work that was queued earlier still finds it intact.
#pragma once

#include "backend/cuda/handle.h"
#include "backend/device.h"

#include <cstddef>
#include <memory>

namespace indexcache::cuda {

class DeviceMemory {
 public:
  // A pool of its own on `device`, in the order of `stream` (null: the default stream). Freed
  // memory stays in the pool until the pool goes, with this object or with its last allocation.
  DeviceMemory(int device, SharedStream stream);

  // At least one byte. Throws ResourceError with what was asked for and what is free. The memory
  // may outlive this object and be freed on any thread.
  std::shared_ptr<void> allocate(std::size_t bytes, Memory kind);

  // Makes what is queued on another stream after this call wait until all that was allocated may be
  // used: until the work that was queued on the stream of this memory is done.
  void make_usable(cudaStream_t stream) const;

  int device() const;

  MemoryUse use() const;

 private:
  struct Ledger;
  std::shared_ptr<Ledger> ledger_;
};

// Pinned host memory, which the device can copy from and to while the host continues.
class PinnedBuffer {
 public:
  // Grows to `bytes`; what it held is lost.
  void* reserve(std::size_t bytes);

 private:
  Handle<void*, cudaFreeHost> data_;
  std::size_t bytes_ = 0;
};

}  // namespace indexcache::cuda
