// SPDX-License-Identifier: Apache-2.0
// Device memory by kind, in the order of one stream: memory that is let go serves the next
// allocation at once, and work queued before still finds it intact.
#pragma once

#include "backend/backend.h"
#include "backend/cuda/handle.h"

#include <cstddef>
#include <memory>

namespace indexcache::cuda {

class DeviceMemory {
 public:
  // Keeps what is freed for later allocations of the process.
  explicit DeviceMemory(cudaStream_t stream);

  // At least one byte. Throws ResourceError with what was asked for and what is free. The memory
  // may outlive this object, not the stream's device context.
  std::shared_ptr<void> allocate(std::size_t bytes, Memory kind);

  MemoryUse use() const;

 private:
  struct Ledger;
  std::shared_ptr<Ledger> ledger_;
};

// Host memory that copies can read and write while the host goes on.
class PinnedBuffer {
 public:
  // Grows to `bytes`; what it held is lost.
  void* reserve(std::size_t bytes);

 private:
  Handle<void*, cudaFreeHost> data_;
  std::size_t bytes_ = 0;
};

}  // namespace indexcache::cuda
