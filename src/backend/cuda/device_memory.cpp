// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device_memory.h"

#include "backend/memory_ledger.h"
#include "core/bytes.h"
#include "core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace indexcache::cuda {

// Tensors may be let go after the engine.
struct DeviceMemory::Ledger : MemoryLedger {
  explicit Ledger(cudaStream_t of) : stream(of) {}
  cudaStream_t stream;
};

DeviceMemory::DeviceMemory(cudaStream_t stream) : ledger_(std::make_shared<Ledger>(stream)) {
  int device = 0;
  INDEXCACHE_CUDA(cudaGetDevice(&device));
  cudaMemPool_t pool = nullptr;
  INDEXCACHE_CUDA(cudaDeviceGetDefaultMemPool(&pool, device));
  std::uint64_t keep = std::numeric_limits<std::uint64_t>::max();
  INDEXCACHE_CUDA(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep));
}

std::shared_ptr<void> DeviceMemory::allocate(std::size_t bytes, Memory kind) {
  void* data = nullptr;
  const cudaError_t status =
      cudaMallocAsync(&data, std::max<std::size_t>(bytes, 1), ledger_->stream);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // clears it
    std::size_t free = 0, total = 0;
    INDEXCACHE_CUDA(cudaMemGetInfo(&free, &total));
    throw ResourceError(
        {"out of GPU memory", std::string(kMemoryNames[static_cast<std::size_t>(kind)]),
         fmt::format("{:.2f} GiB were asked for beside {:.2f} GiB in use; the GPU has {:.2f} GiB, "
                     "{:.2f} GiB of them free",
                     gib(static_cast<std::int64_t>(bytes)), gib(ledger_->total()),
                     gib(static_cast<std::int64_t>(total)), gib(static_cast<std::int64_t>(free))),
         "fewer or shorter sequences, --precision bf16, or a GPU that nobody else uses"});
  }
  INDEXCACHE_CUDA(status);
  const auto counted = static_cast<std::int64_t>(bytes);
  ledger_->add(counted, kind);
  return {data, [ledger = ledger_, counted, kind](void* memory) {
            ledger->add(-counted, kind);
            static_cast<void>(cudaFreeAsync(memory, ledger->stream));
          }};
}

MemoryUse DeviceMemory::use() const {
  return ledger_->use();
}

void* PinnedBuffer::reserve(std::size_t bytes) {
  if (bytes > bytes_) {
    data_.reset();
    void* memory = nullptr;
    INDEXCACHE_CUDA(cudaMallocHost(&memory, bytes));
    data_.reset(memory);
    bytes_ = bytes;
  }
  return data_.get();
}

}  // namespace indexcache::cuda
