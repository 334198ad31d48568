// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/component_clock.h"

namespace indexcache::cuda {

void ComponentClock::start() {
  spans_.clear();
  running_ = true;
}

ComponentSeconds ComponentClock::take() {
  INDEXCACHE_CUDA(cudaStreamSynchronize(stream_));
  ComponentSeconds seconds{};
  for (const Span& span : spans_) {
    float milliseconds = 0;
    INDEXCACHE_CUDA(cudaEventElapsedTime(&milliseconds, span.begin.get(), span.end.get()));
    seconds[static_cast<std::size_t>(span.component)] += static_cast<double>(milliseconds) * 1e-3;
  }
  spans_.clear();
  running_ = false;
  return seconds;
}

ComponentClock::Scope::Scope(ComponentClock& clock, Component component) : clock_(clock) {
  if (!clock_.running_) return;
  index_ = clock_.spans_.size() + 1;
  clock_.spans_.push_back({component, make_event(cudaEventDefault), make_event(cudaEventDefault)});
  INDEXCACHE_CUDA(cudaEventRecord(clock_.spans_.back().begin.get(), clock_.stream_));
}

ComponentClock::Scope::~Scope() {
  if (index_ == 0) return;
  static_cast<void>(cudaEventRecord(clock_.spans_[index_ - 1].end.get(), clock_.stream_));
}

}  // namespace indexcache::cuda
