// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device_memory.h"

#include "backend/cuda/current_device.h"
#include "backend/memory_ledger.h"
#include "core/bytes.h"
#include "core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace indexcache::cuda {

namespace {

Pool make_pool(int device) {
  cudaMemPoolProps properties{};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location = {cudaMemLocationTypeDevice, device};
  cudaMemPool_t pool = nullptr;
  INDEXCACHE_CUDA(cudaMemPoolCreate(&pool, &properties));
  Pool owner(pool);
  std::uint64_t keep = std::numeric_limits<std::uint64_t>::max();
  INDEXCACHE_CUDA(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep));
  return owner;
}

}  // namespace

// Shared by all allocations: tensors may be freed after the backend, which needs the stream.
struct DeviceMemory::Ledger : MemoryLedger {
  Ledger(int of_device, SharedStream of)
      : device(make_current(of_device)), stream(std::move(of)), pool(make_pool(device)) {}
  ~Ledger() { try_make_current(device); }

  int device;
  SharedStream stream;
  Pool pool;
};

DeviceMemory::DeviceMemory(int device, SharedStream stream)
    : ledger_(std::make_shared<Ledger>(device, std::move(stream))) {}

int DeviceMemory::device() const {
  return ledger_->device;
}

std::shared_ptr<void> DeviceMemory::allocate(std::size_t bytes, Memory kind) {
  make_current(ledger_->device);
  void* data = nullptr;
  const cudaError_t status = cudaMallocFromPoolAsync(&data, std::max<std::size_t>(bytes, 1),
                                                     ledger_->pool.get(), ledger_->stream.get());
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // clears it
    std::size_t free = 0, total = 0;
    INDEXCACHE_CUDA(cudaMemGetInfo(&free, &total));
    throw ResourceError(
        {"out of GPU memory", std::string(kMemoryNames[static_cast<std::size_t>(kind)]),
         fmt::format("the request was for {:.2f} GiB in addition to {:.2f} GiB in use; the GPU has "
                     "{:.2f} GiB, of which {:.2f} GiB are free",
                     gib(static_cast<std::int64_t>(bytes)), gib(ledger_->total()),
                     gib(static_cast<std::int64_t>(total)), gib(static_cast<std::int64_t>(free))),
         "fewer or shorter sequences, --precision bf16, or a GPU that no other process uses"});
  }
  INDEXCACHE_CUDA(status);
  const auto counted = static_cast<std::int64_t>(bytes);
  ledger_->add(counted, kind);
  return {data, [ledger = ledger_, counted, kind](void* memory) {
            ledger->add(-counted, kind);
            try_make_current(ledger->device);
            static_cast<void>(cudaFreeAsync(memory, ledger->stream.get()));
          }};
}

void DeviceMemory::make_usable(cudaStream_t stream) const {
  make_current(ledger_->device);
  const Event allocated = make_event();
  INDEXCACHE_CUDA(cudaEventRecord(allocated.get(), ledger_->stream.get()));
  INDEXCACHE_CUDA(cudaStreamWaitEvent(stream, allocated.get()));
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
