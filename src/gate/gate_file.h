// SPDX-License-Identifier: Apache-2.0
// A gate: the limits that a pattern has to keep before it is deployed (indexcache-gate/1,
// docs/ci.md).
//
//   schema: indexcache-gate/1
//   guards:
//     max_holdout_delta: 0.05
//     first_layer_full: true
#pragma once

#include "io/json.h"

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace indexcache {

struct Guard {
  std::string name;
  Json limit;
  std::size_t line;  // in the gate file, from 1
};

struct Gate {
  std::filesystem::path file;
  std::string sha256;  // of the file
  std::vector<Guard> guards;
};

// What a guard's limit has to be.
enum class LimitKind {
  number,     // finite
  ratio,      // in [0, 1]
  flag,       // true: leave the guard out instead of false
  stages,     // a number of pipeline stages
  partition,  // layers of each stage
  fields,     // true, or names of fingerprint fields
};

struct GuardKind {
  const char* name;
  LimitKind limit;
  const char* meaning;
};

// Every guard, in the order in which they are told.
const std::vector<GuardKind>& guard_kinds();

// Throws UsageError with file and line for unknown keys (naming the nearest), a limit of another
// kind, another schema, or no guard at all: a gate that checks nothing would pass everything.
Gate read_gate(const std::filesystem::path& path);
Gate parse_gate(const std::string& text, const std::filesystem::path& path);

}  // namespace indexcache
