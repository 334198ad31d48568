// SPDX-License-Identifier: Apache-2.0
// Which devices the user asked for.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

struct DeviceSpec {
  // automatic: a GPU if it is usable, else the CPU.
  enum class Kind { automatic, cpu, cuda };

  Kind kind = Kind::automatic;
  int index = 0;  // of the GPU, among those that are visible

  bool operator==(const DeviceSpec&) const = default;
};

// Several devices of one kind.
struct DeviceList {
  DeviceSpec::Kind kind = DeviceSpec::Kind::automatic;
  std::vector<int> gpus = {};  // indices; empty: all that are visible
  int cpus = 1;                // backends that share the processor

  bool operator==(const DeviceList&) const = default;
};

// "auto", "cpu", "cuda" (all visible GPUs), "cuda:N" or "cuda:0,2". "cpu,cpu" and so on are several
// backends on the CPU, which show what several devices do. Throws UsageError for anything else, and
// for a GPU that is named twice.
DeviceList parse_devices(std::string_view text);

// As parse_devices understands it; "cuda" for the first GPU.
std::string name_of(const DeviceSpec& device);

}  // namespace indexcache
