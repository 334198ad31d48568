// SPDX-License-Identifier: Apache-2.0
// Patterns that a search result is compared with.
#pragma once

#include "core/pattern.h"

#include <cstddef>
#include <vector>

namespace indexcache {

// Uniform interleaving with `full` F layers among the layers that own an indexer: every r-th of
// them where some r gives that number, else evenly spread. Requires 1 <= full <= owners.
Pattern uniform_of_size(const std::vector<bool>& has_indexer, std::size_t full);

}  // namespace indexcache
