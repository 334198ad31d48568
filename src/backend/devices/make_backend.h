// SPDX-License-Identifier: Apache-2.0
// A backend for a device that the user named.
#pragma once

#include "backend/backend.h"
#include "backend/device_spec.h"
#include "backend/make_cuda_backend.h"

#include <cstdint>
#include <memory>
#include <optional>

namespace indexcache {

struct BackendOptions {
  DeviceSpec device;
  Precision compute = Precision::fp32;  // anything else needs a GPU
  Precision indexer = Precision::fp32;  // likewise
  int threads = 0;                      // of the CPU backend; 0: all that are available
  std::optional<std::int64_t> memory_limit = std::nullopt;  // bytes; none: what the device has
};

// Throws UsageError for a precision that the device does not have, ResourceError if a GPU was named
// and cannot be used. Every call makes a backend of its own; it shares no state with others.
std::unique_ptr<Backend> make_backend(const BackendOptions& options);

}  // namespace indexcache
