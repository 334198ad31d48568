// SPDX-License-Identifier: Apache-2.0
// The whole of `run`: from options to the files of a run folder.
#pragma once

#include "core/progress.h"
#include "ranks/ranks.h"
#include "result/result.h"
#include "run/subject.h"

#include <string>

namespace indexcache {

struct RunOptions {
  SearchOptions search;
  std::string budget;  // "4h"; empty: no limit
  std::string output;
  bool restart = false;
};

// Seconds of "4h", "1h30m" or "2.5s"; 0 for an empty text. Throws UsageError.
double parse_duration(const std::string& text, const std::string& option = "--budget");

// Runs, or continues, or finds finished what `options` describe, and leaves everything in the
// folder options.output, with the devices of all ranks. For rank 0. Throws UsageError, InputError,
// ResourceError (plan.h's check_fits among them), ResumeMismatch for a folder that holds a
// different run, Interrupted.
Result run(const RunOptions& options, Progress& progress, Ranks& ranks);

}  // namespace indexcache
