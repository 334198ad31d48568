// SPDX-License-Identifier: Apache-2.0
// Held-out losses: of the chosen patterns, and of those that they are compared with.
#pragma once

#include "result/result.h"
#include "run/instruments.h"
#include "search/strategy.h"

#include <span>

namespace indexcache {

// How many random patterns a target is compared with.
inline constexpr std::size_t kRandomPatterns = 8;

// The baseline, on held-out sequences.
struct HoldoutBaseline {
  double loss = 0;
  SequenceLosses losses;
};

// Measures, in one sweep, what `targets` lack: held-out losses of the chosen pattern, of uniform
// interleaving, of what the overlap recommends, of each strategy's own choice, and of random
// patterns. `overlap` is that of the calibration data. The instruments must have held-out
// sequences.
HoldoutBaseline measure_holdout(Instruments& instruments, const SearchSpace& space,
                                const Overlap& overlap, std::span<Target> targets);

}  // namespace indexcache
