// SPDX-License-Identifier: Apache-2.0
// The memory that a backend has allocated, by kind. Shared by all of its allocations, so that
// tensors may be released after the backend, on any thread.
#pragma once

#include "backend/device.h"

#include <algorithm>
#include <mutex>

namespace indexcache {

class MemoryLedger {
 public:
  void add(std::int64_t bytes, Memory kind) {
    const std::lock_guard lock(mutex_);
    const auto k = static_cast<std::size_t>(kind);
    use_.current[k] += bytes;
    total_ += bytes;
    use_.peak[k] = std::max(use_.peak[k], use_.current[k]);
    use_.peak_total = std::max(use_.peak_total, total_);
  }

  MemoryUse use() const {
    const std::lock_guard lock(mutex_);
    return use_;
  }

  std::int64_t total() const {
    const std::lock_guard lock(mutex_);
    return total_;
  }

 private:
  mutable std::mutex mutex_;
  MemoryUse use_;
  std::int64_t total_ = 0;
};

}  // namespace indexcache
