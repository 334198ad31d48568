// SPDX-License-Identifier: Apache-2.0
// What a rank other than 0 does: it opens what rank 0 opens, and computes for it.
#pragma once

#include "core/fingerprint.h"
#include "ranks/ranks.h"
#include "run/session.h"
#include "run/subject.h"

#include <string>
#include <vector>

namespace indexcache {

// What ranks must have in common to measure patterns on a token set: "program version" and so on.
Fingerprint rank_fingerprint(const Model& model, const TokenSet& tokens, const std::string& device);
// The same for a run.
Fingerprint rank_fingerprint(Fingerprint of_run);

// Computes until the job ends. Returns the exit code. Throws what opening the model and the data
// throws, and RankDismissed.
int serve_run(const SearchOptions& options, Ranks& ranks);
// For a command that measures patterns on `tokens`.
int serve_tokens(const Model& model, const TokenSet& tokens, Backends backends,
                 const DeviceOptions& options, Ranks& ranks);

// Rank 0: admits the others to work on `tokens`, and adds their devices to the session.
void admit_to(Session& session, const Model& model, const TokenSet& tokens, Ranks& ranks);

// Throws UsageError if there are other ranks: trainings are spread over the devices of one process.
void require_one_process(const Ranks& ranks, const std::string& what);

}  // namespace indexcache
