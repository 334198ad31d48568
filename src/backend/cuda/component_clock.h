// SPDX-License-Identifier: Apache-2.0
// Device time by component, from events around what each operation queues.
#pragma once

#include "backend/cuda/handle.h"
#include "backend/device.h"

#include <vector>

namespace indexcache::cuda {

class ComponentClock {
 public:
  explicit ComponentClock(cudaStream_t stream) : stream_(stream) {}

  void start();
  ComponentSeconds take();  // waits for the device

  // Counts what is queued while it lives; does nothing while the clock does not run.
  class Scope {
   public:
    Scope(ComponentClock& clock, Component component);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    ComponentClock& clock_;
    std::size_t index_ = 0;
  };

 private:
  struct Span {
    Component component;
    Event begin, end;
  };

  cudaStream_t stream_;
  bool running_ = false;
  std::vector<Span> spans_;
};

}  // namespace indexcache::cuda
