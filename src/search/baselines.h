// SPDX-License-Identifier: Apache-2.0
// Patterns that a search result is compared with.
#pragma once

#include "core/pattern.h"

#include <cstddef>

namespace indexcache {

// Uniform interleaving with `full` F layers among the F layers of `baseline`: every r-th of them
// where some r gives that number, else evenly spread. Requires 1 <= full <= those.
Pattern uniform_of_size(const Pattern& baseline, std::size_t full);

}  // namespace indexcache
