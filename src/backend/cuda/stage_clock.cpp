// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/stage_clock.h"

namespace indexcache::cuda {

void StageClock::start() {
  spans_.clear();
  running_ = true;
}

StageSeconds StageClock::take() {
  INDEXCACHE_CUDA(cudaStreamSynchronize(stream_));
  StageSeconds seconds{};
  for (const Span& span : spans_) {
    float milliseconds = 0;
    INDEXCACHE_CUDA(cudaEventElapsedTime(&milliseconds, span.begin.get(), span.end.get()));
    seconds[static_cast<std::size_t>(span.stage)] += static_cast<double>(milliseconds) * 1e-3;
  }
  spans_.clear();
  running_ = false;
  return seconds;
}

StageClock::Scope::Scope(StageClock& clock, Stage stage) : clock_(clock) {
  if (!clock_.running_) return;
  index_ = clock_.spans_.size() + 1;
  clock_.spans_.push_back({stage, make_event(cudaEventDefault), make_event(cudaEventDefault)});
  INDEXCACHE_CUDA(cudaEventRecord(clock_.spans_.back().begin.get(), clock_.stream_));
}

StageClock::Scope::~Scope() {
  if (index_ == 0) return;
  static_cast<void>(cudaEventRecord(clock_.spans_[index_ - 1].end.get(), clock_.stream_));
}

}  // namespace indexcache::cuda
