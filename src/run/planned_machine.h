// SPDX-License-Identifier: Apache-2.0
// Machines that are not here, for plans: their cards, from a table.
#pragma once

#include "backend/backend.h"
#include "run/session.h"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

namespace indexcache {

struct PlannedMachine {
  std::size_t devices = 1;
  std::string card;               // "H200", or its memory
  std::int64_t memory_bytes = 0;  // of each, that may be used
  std::optional<double> speed;    // relative to an H200, on which rates were measured
  std::int64_t host_bytes = 0;    // of each node, that may be used
};

// "8xH200", "H100", or "4x80GiB" for a card of which only the memory is known. Throws UsageError.
PlannedMachine parse_machine(const std::string& text);

// Stands for one of its devices in plans; computes nothing at their speed. `options` has the
// precisions and the memory limit.
std::unique_ptr<Backend> make_planned_device(const PlannedMachine& machine,
                                             const DeviceOptions& options);

}  // namespace indexcache
