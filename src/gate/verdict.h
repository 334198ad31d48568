// SPDX-License-Identifier: Apache-2.0
// A gate applied to a result: every guard, what it measured, and whether all passed.
#pragma once

#include "gate/gate_file.h"
#include "result/stored_result.h"

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
};

struct Verdict {
  Gate gate;
  StoredResult result;
  std::optional<StoredResult> baseline;
  std::optional<std::filesystem::path> drift_file;
  std::vector<GuardResult> guards;

  bool passed() const;
};

// What `overlap --against` measured (indexcache-drift/1).
struct Drift {
  std::filesystem::path file;
  std::string pattern;
  double mean_drop = 0;
  double largest_drop = 0;
  std::size_t largest_layer = 0;
};

// Throws InputError for what is no drift file.
Drift read_drift(const std::filesystem::path& path);

// Every guard of the gate; a measurement that is missing fails its guard. Throws InputError where
// the baseline, or the drift file, cannot be compared with the result: another model, or, for
// max_delta_over_baseline, other held-out sequences or numerics.
Verdict apply_gate(const Gate& gate, const StoredResult& result,
                   const std::optional<StoredResult>& baseline, const std::optional<Drift>& drift);

}  // namespace indexcache
