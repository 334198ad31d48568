// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace indexcache {

// Bytes in GiB, for messages.
constexpr double gib(std::int64_t bytes) {
  return static_cast<double>(bytes) / 0x1p30;
}

}  // namespace indexcache
