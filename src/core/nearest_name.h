// SPDX-License-Identifier: Apache-2.0
// "Did you mean …": the known name with the smallest edit distance.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

// Empty when nothing in `known` is within a third of the length of `name` (at least two edits).
std::string nearest_name(std::string_view name, const std::vector<std::string>& known);

}  // namespace indexcache
