// SPDX-License-Identifier: Apache-2.0
// What a result says about its model, its data and its run.
#pragma once

#include "core/fingerprint.h"
#include "model/model.h"
#include "result/result.h"
#include "run/subject.h"
#include "search/spread.h"

#include <string>

namespace indexcache {

ModelSummary summarize(const Model& model);
TokenSummary summarize(const TokenSet& tokens);

// Everything that decides the losses and the constraints of a run on a device.
Fingerprint fingerprint_of(const Model& model, const SearchSubject& subject,
                           const std::string& device);

// Who computed what, where there was a choice.
void add_devices(Provenance& provenance, const SpreadUse& use);

}  // namespace indexcache
