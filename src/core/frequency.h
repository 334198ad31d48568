// SPDX-License-Identifier: Apache-2.0
// index_topk_freq f and index_skip_topk_offset o: four rules are in use, and they disagree. Layer l
// runs its indexer (F) if
//
//   A  max(l - 1, 0) mod f = 0
//   B  max(l - o + 1, 0) mod f = 0
//   C  l mod f = 0
//   D  max(l - o, 0) mod f = 0
//
// docs/engines.md says who uses which.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace indexcache {

enum class FrequencyRule { a, b, c, d };

// F and S of `layers` layers. Requires freq >= 1. An offset below 1 may make layer 0 shared, which
// is what engines then do; A and C have no offset and ignore it.
std::string frequency_schedule(FrequencyRule rule, std::size_t layers, std::int64_t freq,
                               std::int64_t offset);

}  // namespace indexcache
