// SPDX-License-Identifier: Apache-2.0
// What decides the numbers of a run.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace indexcache {

// (field, value) pairs; two runs with equal fingerprints compute equal losses. Order matters: the
// first field that differs is the one that an error names.
using Fingerprint = std::vector<std::pair<std::string, std::string>>;

}  // namespace indexcache
