// SPDX-License-Identifier: Apache-2.0
// One sweep of one pattern that yields its losses and the overlap of its index sets.
#pragma once

#include "search/evaluator.h"
#include "search/overlap.h"

namespace indexcache {

struct OverlapPass {
  SequenceLosses losses;
  Overlap overlap;
};

// The sets of all layers meet at the last one, so they are kept until then: those of every query
// where that fits the evaluator's memory, else of every 2nd, 4th, … position (overlap.query_step).
OverlapPass measure_overlap(Evaluator& evaluator, Backend& backend, const Pattern& pattern,
                            std::int64_t index_topk, std::int64_t longest);

}  // namespace indexcache
