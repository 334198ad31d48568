// SPDX-License-Identifier: Apache-2.0
#include "model/stored_layers.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <string>

namespace indexcache {
namespace {

// How often a device that waits for another one looks whether it has to stop.
constexpr std::chrono::milliseconds kLook{50};

}  // namespace

StoredLayers::StoredLayers(const Checkpoint& checkpoint, const WeightSizes& sizes,
                           std::int64_t layers, Placement placement, std::size_t devices)
    : checkpoint_(checkpoint),
      sizes_(sizes),
      placement_(placement),
      slots_(placement == Placement::stream ? static_cast<std::size_t>(layers) : 2 * devices) {}

std::int64_t StoredLayers::reads() const {
  const std::lock_guard lock(mutex_);
  return reads_;
}

StoredLayers::Blob StoredLayers::get(std::int64_t layer, const BlobLayout& layout, Device& device,
                                     const std::atomic<bool>& stop) {
  std::unique_lock lock(mutex_);
  while (!stop) {
    Slot* found = find(layer);
    if (found == nullptr) {
      Slot& slot = take(layer);
      lock.unlock();
      return read(slot, layout, device, stop);
    }
    if (found->ready) {
      found->used = ++uses_;
      return found->bytes;
    }
    changed_.wait_for(lock, kLook);
  }
  return nullptr;
}

StoredLayers::Slot* StoredLayers::find(std::int64_t layer) {
  const auto found = std::ranges::find(slots_, layer, &Slot::layer);
  return found == slots_.end() ? nullptr : &*found;
}

// The slot that was not used for longest of those that nobody holds or fills. There is one: every
// device holds at most one layer and fills at most one, and there are two slots per device.
StoredLayers::Slot& StoredLayers::take(std::int64_t layer) {
  Slot* oldest = nullptr;
  for (Slot& slot : slots_) {
    const bool filling = slot.layer >= 0 && !slot.ready;
    if (filling || slot.bytes.use_count() > 1) continue;
    if (oldest == nullptr || slot.used < oldest->used) oldest = &slot;
  }
  oldest->layer = layer;
  oldest->ready = false;
  oldest->used = ++uses_;
  return *oldest;
}

// Without the mutex: nobody else touches a slot that is being filled. The blob is held before
// others may take the slot: a thread that is interrupted right after it has read a layer would
// otherwise find another one in it.
StoredLayers::Blob StoredLayers::read(Slot& slot, const BlobLayout& layout, Device& device,
                                      const std::atomic<bool>& stop) {
  const auto settle = [&](bool ready) {
    const std::lock_guard lock(mutex_);
    slot.ready = ready;
    if (!ready) slot.layer = -1;
    ++reads_;
    changed_.notify_all();
  };
  Blob blob;
  try {
    if (!slot.bytes) {
      slot.bytes = device.allocate_host(placement_ == Placement::stream ? layout.blob_bytes
                                                                        : sizes_.largest_stored);
    }
    blob = slot.bytes;
    read_blob(checkpoint_, layout.parts, slot.bytes.get(), stop);
    if (!stop && placement_ == Placement::disk) forget(layout);
  } catch (...) {
    settle(false);
    throw;
  }
  settle(!stop);
  return blob;
}

// The page cache would only push out what is needed sooner.
void StoredLayers::forget(const BlobLayout& layout) const {
  std::set<std::string> names;
  for (const BlobPart& part : layout.parts) names.insert(part.tensor);
  for (const std::string& name : names) checkpoint_.forget(name);
}

}  // namespace indexcache
