// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace indexcache {

// Bytes that this process could still take without swapping: what the system calls available,
// within the container's limit (cgroup v2).
std::int64_t available_host_bytes();

}  // namespace indexcache
