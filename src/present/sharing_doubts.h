// SPDX-License-Identifier: Apache-2.0
// Reasons, in the data of a run, why a pattern may not pay (docs/when-to-share.md).
#pragma once

#include "result/result.h"

#include <string>
#include <vector>

namespace indexcache {

// A sentence for each reason that the result holds; empty if it holds none: indexers that take
// little of a prefill, models that were trained to share, donors that agree little, and a
// held-out interval that contains the loss increase that a gate allows.
std::vector<std::string> sharing_doubts(const Result& result, const Target& target);

}  // namespace indexcache
