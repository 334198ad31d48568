// SPDX-License-Identifier: Apache-2.0
// A gate: the limits that a pattern must meet before it is deployed (indexcache-gate/1,
// docs/ci.md).
//
//   schema: indexcache-gate/1
//   guards:
//     max_holdout_delta: 0.05
//     first_layer_full: true
#pragma once

#include "gate/guards.h"

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace indexcache {

// A row of the table (guards.h) with a limit.
struct Guard {
  const GuardKind* kind;
  Limit limit;
  std::size_t line;  // in the gate file, from 1
};

struct Gate {
  std::filesystem::path file;
  std::string sha256;  // of the file
  std::vector<Guard> guards;
};

// Throws UsageError with file and line for unknown keys (naming the nearest), a limit of another
// kind, another schema, or no guard at all: a gate that checks nothing would pass everything.
Gate read_gate(const std::filesystem::path& path);
Gate parse_gate(const std::string& text, const std::filesystem::path& path);

}  // namespace indexcache
