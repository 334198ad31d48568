// SPDX-License-Identifier: Apache-2.0
// Which device the user asked for.
#pragma once

#include <string>
#include <string_view>

namespace indexcache {

struct DeviceSpec {
  // automatic: the first GPU if it is usable, else the CPU.
  enum class Kind { automatic, cpu, cuda };

  Kind kind = Kind::automatic;
  int index = 0;  // of the GPU, among those that are visible

  bool operator==(const DeviceSpec&) const = default;
};

// "auto", "cpu", "cuda" (the first GPU) or "cuda:N"; throws UsageError for anything else.
DeviceSpec parse_device(std::string_view text);

// The inverse, "cuda:0" being "cuda".
std::string name_of(const DeviceSpec& device);

}  // namespace indexcache
