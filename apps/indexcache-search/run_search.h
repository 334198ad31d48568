// SPDX-License-Identifier: Apache-2.0
// The measuring part of `run`: everything between checked inputs and written files.
#pragma once

#include "engine.h"
#include "search/journal.h"
#include "search_subject.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

struct RunInputs {
  const EngineOptions& engine;
  const Model& model;
  const SearchSubject& subject;
  const Fingerprint& fingerprint;
  double budget_seconds;  // no step begins that would not end within it; 0: no bound
};

struct RunResult {
  Result result;
  Overlap overlap;
};

// Baseline and overlap, greedy search from where the journal stands, verification from scratch,
// held-out losses. Where the budget ends the search, the last step that was done takes the place of
// the targets it did not reach. Throws ResumeMismatch when the journal's baseline has other bits
// than this machine's.
RunResult run_search(const RunInputs& inputs, std::unique_ptr<Backend> backend, Journal& journal,
                     Progress& progress);

}  // namespace indexcache
