// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device_rows.h"

#include <algorithm>

namespace indexcache::cuda {
namespace {

constexpr std::size_t kEntries = 64;

}  // namespace

const DeviceRows& LayoutCache::get(const RowLayout& rows, const RowLayout& keys) {
  const auto found = std::ranges::find_if(entries_, [&](const Entry& entry) {
    return entry.rows == rows.segments && entry.keys == keys.segments;
  });
  if (found != entries_.end()) {
    entries_.splice(entries_.begin(), entries_, found);
  } else {
    entries_.push_front(make(rows, keys));
    if (entries_.size() > kEntries) entries_.pop_back();
  }
  return entries_.front().device;
}

template <typename T>
std::shared_ptr<void> LayoutCache::upload(const std::vector<T>& values) {
  const std::size_t bytes = values.size() * sizeof(T);
  auto data = memory_.allocate(bytes, Memory::workspace);
  // From pageable memory: the call returns after the values have been read.
  if (bytes > 0) {
    INDEXCACHE_CUDA(
        cudaMemcpyAsync(data.get(), values.data(), bytes, cudaMemcpyHostToDevice, stream_));
  }
  return data;
}

LayoutCache::Entry LayoutCache::make(const RowLayout& rows, const RowLayout& keys) {
  std::vector<kernels::RowPlace> places(static_cast<std::size_t>(rows.total));
  std::vector<kernels::KeySegment> segments;
  DeviceRows device{};
  for (std::size_t s = 0; s < rows.segments.size(); ++s) {
    const Segment& segment = rows.segments[s];
    if (segment.rows == 0) continue;
    const Segment& of_keys = keys.segments[s];
    const auto base = static_cast<int>(of_keys.first_row - of_keys.first_position);
    for (std::int64_t i = 0; i < segment.rows; ++i) {
      const std::int64_t position = segment.position(i);
      places[static_cast<std::size_t>(segment.first_row + i)] = {
          static_cast<int>(position), static_cast<int>(of_keys.candidates(position)), base};
    }
    segments.push_back({static_cast<int>(segment.first_row), static_cast<int>(segment.rows),
                        static_cast<int>(segment.first_position), base,
                        static_cast<int>(of_keys.positions_per_key)});
    const std::int64_t last = segment.last_position();
    device.most_rows = std::max(device.most_rows, static_cast<int>(segment.rows));
    device.most_keys = std::max(device.most_keys, static_cast<int>(of_keys.candidates(last)));
    device.longest = std::max(device.longest, static_cast<int>(last + 1));
  }
  device.segment_count = static_cast<int>(segments.size());
  Entry entry{rows.segments, keys.segments, upload(places), upload(segments), device};
  entry.device.places = static_cast<const kernels::RowPlace*>(entry.places.get());
  entry.device.segments = static_cast<const kernels::KeySegment*>(entry.segments.get());
  return entry;
}

}  // namespace indexcache::cuda
