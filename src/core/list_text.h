// SPDX-License-Identifier: Apache-2.0
// Several names inside a sentence.
#pragma once

#include <string>
#include <vector>

namespace indexcache {

// "A", "A and B", "A, B and C" of one name or more.
std::string list_text(const std::vector<std::string>& names);

}  // namespace indexcache
