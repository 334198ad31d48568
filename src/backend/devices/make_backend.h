// SPDX-License-Identifier: Apache-2.0
// Backends for devices that the user named.
#pragma once

#include "backend/backend.h"
#include "backend/device_spec.h"
#include "backend/make_cuda_backend.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

struct BackendOptions {
  DeviceSpec device;
  Precision compute = Precision::fp32;  // bf16 needs a GPU, fp8 on a GPU needs Hopper
  // None: as compute; on a CPU, which has no other, fp32.
  std::optional<Precision> indexer = std::nullopt;
  int threads = 0;  // of the CPU backend; 0: all that are available
  std::optional<std::int64_t> memory_limit = std::nullopt;  // bytes; none: what the device has
};

// Throws UsageError for a precision that the device does not have, ResourceError if a GPU was named
// and cannot be used. Every call makes a backend of its own; it shares no state with others.
std::unique_ptr<Backend> make_backend(const BackendOptions& options);

// The devices of a list, at least one; at most `most` GPUs if that is positive. Throws
// ResourceError if it is more than there are.
std::vector<DeviceSpec> choose_devices(const DeviceList& list, int most);

using Backends = std::vector<std::unique_ptr<Backend>>;

// Makes a backend for each of the devices. `options.device` is not used; threads are shared by the
// CPU backends, and memory_limit is of each. All plan with the same memory. Throws what
// make_backend throws, and, unless `mixed`, UsageError if two of them are of different kinds,
// because their results differ in the last bits.
Backends make_backends(const std::vector<DeviceSpec>& devices, BackendOptions options,
                       bool mixed = false);

// The kinds of devices with these names or kinds: each once, in alphabetical order, joined by
// " + ". One kind is the name of its devices.
std::string kinds_of(const std::vector<std::string>& names);
std::string kinds_of(const Backends& backends);
// Whether there are several, so that last bits depend on which device computes what.
bool is_mixed(const std::string& kinds);

}  // namespace indexcache
