// SPDX-License-Identifier: Apache-2.0
// What overlap --indexer shows.
#pragma once

#include "io/json.h"
#include "search/indexer_overlap.h"

#include <string>

namespace indexcache {

Json indexer_overlap_document(const IndexerOverlap& overlap);
std::string indexer_overlap_table(const IndexerOverlap& overlap);

}  // namespace indexcache
