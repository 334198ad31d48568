// SPDX-License-Identifier: Apache-2.0
// Stamps of a stream for a ComponentTimeline: events, which are kept from one use to the next,
// because making them takes longer than recording them.
#pragma once

#include "backend/cuda/handle.h"

#include <cstddef>
#include <vector>

namespace indexcache::cuda {

class EventClock {
 public:
  using Stamp = std::size_t;  // of events_

  explicit EventClock(cudaStream_t stream) : stream_(stream) {}

  void start() { used_ = 0; }

  void prepare(std::size_t stamps) {
    while (events_.size() < used_ + stamps) events_.push_back(make_event(cudaEventDefault));
  }

  // A failure shows when the time is read.
  Stamp stamp() noexcept {
    static_cast<void>(cudaEventRecord(events_[used_].get(), stream_));
    return used_++;
  }

  void wait() { INDEXCACHE_CUDA(cudaStreamSynchronize(stream_)); }

  double seconds(Stamp from, Stamp to) {
    float milliseconds = 0;
    INDEXCACHE_CUDA(cudaEventElapsedTime(&milliseconds, events_[from].get(), events_[to].get()));
    return static_cast<double>(milliseconds) * 1e-3;
  }

 private:
  cudaStream_t stream_;
  std::vector<Event> events_;
  std::size_t used_ = 0;
};

}  // namespace indexcache::cuda
