// SPDX-License-Identifier: Apache-2.0
// The end of `run` as a person reads it.
#pragma once

#include "io/json.h"

#include <string>

namespace indexcache {

// At most 80 columns wide for up to 64 layers; `run` is the content of run.json.
std::string summary_text(const Json& run, const std::string& folder);

// Name of the pattern file of target `index` of `count`: pattern.yaml for the last and smallest,
// pattern-<kept>F.yaml for the others.
std::string pattern_file_name(std::size_t index, std::size_t count, std::size_t kept);

}  // namespace indexcache
