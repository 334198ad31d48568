// SPDX-License-Identifier: Apache-2.0
// A gate applied to a result: every guard, what it measured, and whether all passed.
#pragma once

#include "gate/gate_file.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

struct GuardResult {
  Guard guard;
  bool passed = false;
  std::string limit;     // "<= 0.05"
  std::string measured;  // "0.0312", or "missing"
  std::string detail;    // which layer or sequence, or why the measurement is missing
  std::optional<double> number = std::nullopt;  // `measured`, if it is one that a limit bounds
};

struct Verdict {
  Gate gate;
  StoredPattern result;
  std::optional<StoredPattern> baseline;
  std::optional<std::filesystem::path> drift_file;
  std::optional<std::filesystem::path> profile_file;
  std::vector<GuardResult> guards;

  bool passed() const;
};

// Every guard of the gate; a measurement that is missing fails its guard. Throws InputError if the
// baseline, the drift or the profile cannot be compared with the result: another model or pattern,
// or, for max_delta_over_baseline, other held-out sequences or numerics.
Verdict apply_gate(const Gate& gate, const StoredPattern& result,
                   const std::optional<StoredPattern>& baseline, const std::optional<Drift>& drift,
                   const std::optional<Profile>& profile = std::nullopt);

}  // namespace indexcache
