// SPDX-License-Identifier: Apache-2.0
// The end of `run` as a person reads it in a terminal.
#pragma once

#include "result/result.h"

#include <string>

namespace indexcache {

// At most 80 columns wide for up to 64 layers, apart from the paths of files. `folder` is the run
// folder.
std::string summary_text(const Result& result, const std::string& folder);

}  // namespace indexcache
