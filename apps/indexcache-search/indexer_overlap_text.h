// SPDX-License-Identifier: Apache-2.0
// What overlap --indexer shows.
#pragma once

#include "core/progress.h"
#include "io/json.h"
#include "search/indexer_overlap.h"

#include <string>
#include <vector>

namespace indexcache {

Json indexer_overlap_document(const IndexerOverlap& overlap);
std::string indexer_overlap_table(const IndexerOverlap& overlap);

// Warns if no query of any sequence has more blocks than it chooses: then HISA is exact.
void warn_of_reach(const Hisa& method, const TokenSet& tokens, Progress& progress,
                   std::vector<std::string>& warnings);

}  // namespace indexcache
