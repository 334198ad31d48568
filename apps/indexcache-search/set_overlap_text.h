// SPDX-License-Identifier: Apache-2.0
// Shares of sets by layer and position, as overlap --indexer and --against-model show them.
#pragma once

#include "core/layer_numbers.h"
#include "io/json.h"
#include "search/set_overlap.h"

#include <string>

namespace indexcache {

Json set_overlap_document(const SetOverlap& overlap);
// Lines with a heading, the last one without its end.
std::string set_overlap_table(const SetOverlap& overlap, const LayerNumbers& numbers = {});

}  // namespace indexcache
