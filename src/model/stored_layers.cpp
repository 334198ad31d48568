// SPDX-License-Identifier: Apache-2.0
#include "model/stored_layers.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <string>
#include <utility>

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
      devices_(devices),
      slots_(placement == Placement::stream ? static_cast<std::size_t>(layers) : 2 * devices) {}

std::int64_t StoredLayers::reads() const {
  const std::lock_guard lock(mutex_);
  return reads_;
}

std::size_t StoredLayers::blobs() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(
      std::ranges::count_if(slots_, [](const Slot& slot) { return slot.bytes != nullptr; }));
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
      ++found->gets;
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

// Of the slots that nobody holds or fills, the one that was not used for longest. There is one:
// every device holds at most one layer and fills at most one, and there are two slots per device.
// Resident weights pass only once, so one whose layer every device had comes first: allocating
// pinned memory takes as long as reading into it.
StoredLayers::Slot& StoredLayers::take(std::int64_t layer) {
  Slot* best = nullptr;
  const auto rank = [&](const Slot& slot) {
    const bool passed = placement_ == Placement::resident && slot.gets >= devices_;
    return std::pair(!passed, slot.used);
  };
  for (Slot& slot : slots_) {
    const bool filling = slot.layer >= 0 && !slot.ready;
    if (filling || slot.bytes.use_count() > 1) continue;
    if (best == nullptr || rank(slot) < rank(*best)) best = &slot;
  }
  best->layer = layer;
  best->ready = false;
  best->gets = 1;
  best->used = ++uses_;
  return *best;
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
