// SPDX-License-Identifier: Apache-2.0
// How much of what the exact indexer selects another method selects for the same queries and keys,
// while the exact sets are in force.
#pragma once

#include "core/hisa.h"
#include "search/set_overlap.h"

namespace indexcache {

struct IndexerOverlap : SetOverlap {
  Hisa method;
};

// What will be measured with `pattern`, without any query. Throws InputError if no query drops
// anything.
IndexerOverlap prepare_indexer_overlap(const ModelConfig& config, const TokenSet& tokens,
                                       const Pattern& pattern, const Hisa& method);

}  // namespace indexcache
