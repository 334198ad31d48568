// SPDX-License-Identifier: Apache-2.0
// What a run does, in order: baseline and overlap, the search, its refinement, verification from
// scratch, held-out sequences. On a device this is `run`; over PlanningInstruments it is `plan`.
#pragma once

#include "core/progress.h"
#include "result/result.h"
#include "run/instruments.h"
#include "run/path_recorder.h"
#include "run/subject.h"

#include <cstdint>
#include <string>
#include <vector>

namespace indexcache {

// What was found, without the parts of Result that describe the model, the data and the machine.
struct SearchOutcome {
  double baseline_loss = 0;
  SequenceLosses baseline_losses;
  double search_start = 0;  // the objective's value of the baseline
  Overlap overlap;
  std::vector<SearchPath> searches;
  std::vector<Target> targets;  // without donors
  double holdout_baseline_loss = 0;
  SequenceLosses holdout_baseline_losses;  // empty without held-out sequences
  bool complete = true;                    // false if the budget ended the search
  std::vector<std::string> warnings;
};

// If the budget ends the search, the smallest pattern that was reached takes the place of the
// targets that were not. Throws InternalError if a chosen pattern does not reproduce its loss
// alone, and what the instruments throw.
SearchOutcome search_run(const SearchSubject& subject, Instruments& instruments, Progress& progress,
                         const ExpectedWork& expected = {});

}  // namespace indexcache
