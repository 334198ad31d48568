// SPDX-License-Identifier: Apache-2.0
// What a distillation comes to, for a terminal.
#pragma once

#include "result/distillation.h"

#include <string>

namespace indexcache {

// A verdict, a table of losses, and what to do next; `folder` is where the files are.
std::string distillation_text(const Distillation& distillation, const std::string& folder);

// One or two sentences.
std::string distillation_verdict(const Distillation& distillation);

}  // namespace indexcache
