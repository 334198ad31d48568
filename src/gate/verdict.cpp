// SPDX-License-Identifier: Apache-2.0
#include "gate/verdict.h"

#include "core/error.h"
#include "result/profile_match.h"

#include <fmt/format.h>

#include <algorithm>

namespace indexcache {
namespace {

void check_baseline(const StoredPattern& result, const StoredPattern& baseline) {
  const auto fail = [&](const std::string& why) {
    throw InputError({"the baseline cannot be compared with this result", baseline.file.string(),
                      why,
                      "a result of the same model; update the stored file if the change is "
                      "intended"});
  };
  if (baseline.pattern.layers() != result.pattern.layers()) {
    fail(fmt::format("it has {} layers, but the result has {}", baseline.pattern.layers(),
                     result.pattern.layers()));
  }
  const auto architecture = [](const StoredPattern& stored) {
    return stored.model ? fmt::format("\"{}\"", stored.model->architecture)
                        : std::string("no known architecture");
  };
  if (architecture(baseline) != architecture(result)) {
    fail(fmt::format("it is for {}, but the result is for {}", architecture(baseline),
                     architecture(result)));
  }
}

void check_drift(const StoredPattern& result, const Drift& drift) {
  if (drift.pattern == result.pattern) return;
  throw InputError({"the drift file does not belong to this result", drift.file.string(),
                    "it was measured for a different pattern",
                    "overlap --against with the result that is checked"});
}

}  // namespace

bool Verdict::passed() const {
  return std::ranges::all_of(guards, &GuardResult::passed);
}

Verdict apply_gate(const Gate& gate, const StoredPattern& result,
                   const std::optional<StoredPattern>& baseline, const std::optional<Drift>& drift,
                   const std::optional<Profile>& profile) {
  if (baseline) check_baseline(result, *baseline);
  if (drift) check_drift(result, *drift);
  if (profile && result.model) check_profile(*profile, *result.model);
  const Evidence evidence{result, baseline ? &*baseline : nullptr, drift ? &*drift : nullptr,
                          profile ? &*profile : nullptr};
  Verdict verdict{.gate = gate,
                  .result = result,
                  .baseline = baseline,
                  .drift_file = drift ? std::optional(drift->file) : std::nullopt,
                  .profile_file = profile ? std::optional(profile->file) : std::nullopt,
                  .guards = {}};
  for (const Guard& guard : gate.guards) {
    Finding finding = guard.kind->judge(evidence, guard.limit);
    verdict.guards.push_back({guard, finding.passed && finding.value.has_value(),
                              std::move(finding.limit), finding.value.value_or("missing"),
                              std::move(finding.detail), finding.number});
  }
  return verdict;
}

}  // namespace indexcache
