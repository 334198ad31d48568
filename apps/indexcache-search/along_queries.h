// SPDX-License-Identifier: Apache-2.0
// How `overlap --along-queries` shows what it measured.
#pragma once

#include "core/layer_numbers.h"
#include "io/json.h"
#include "search/query_overlap.h"

#include <string>

namespace indexcache {

Json along_queries_document(const QueryOverlap& overlap);

// A line per layer, their mean, and the mean of each position bucket.
std::string along_queries_table(const QueryOverlap& overlap, const LayerNumbers& numbers = {});

}  // namespace indexcache
