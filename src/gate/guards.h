// SPDX-License-Identifier: Apache-2.0
// The table of guards: one row has a guard's name, the kind of its limit, its meaning and its
// judge. A new guard is a row and the judge that it names, both in guards.cpp, and a line in
// docs/ci.md.
#pragma once

#include "profile/profile.h"
#include "result/drift.h"
#include "result/stored_pattern.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace indexcache {

// What a guard's limit has to be.
enum class LimitKind {
  number,     // finite
  ratio,      // in [0, 1]
  flag,       // true: leave the guard out instead of false
  stages,     // a number of pipeline stages
  partition,  // layers of each stage
  fields,     // true, or names of fingerprint fields
  contexts,   // a number at least 1 for each of some contexts
};

struct Limit {
  std::string text;                 // as in the gate file, in JSON's notation
  double number = 0;                // of a number, a ratio or a number of stages
  std::vector<std::size_t> sizes;   // of a partition
  std::vector<std::string> fields;  // empty for `true`
  std::vector<std::pair<std::int64_t, double>> contexts = {};  // by rising context
};

// What there is to judge.
struct Evidence {
  const StoredPattern& result;
  const StoredPattern* baseline;     // null without --baseline
  const Drift* drift;                // null without --drift
  const Profile* profile = nullptr;  // null without a profile
};

// What a guard found; no `value` if it could not be measured.
struct Finding {
  bool passed = false;
  std::string limit;
  std::optional<std::string> value;
  std::string detail;
  std::optional<double> number = std::nullopt;  // the value, if it is one that a limit bounds
};

struct GuardKind {
  const char* name;
  LimitKind limit;
  const char* meaning;
  Finding (*judge)(const Evidence& evidence, const Limit& limit);
};

// Every guard, in the order in which they are reported.
const std::vector<GuardKind>& guard_kinds();

}  // namespace indexcache
