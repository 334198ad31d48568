// SPDX-License-Identifier: Apache-2.0
// One sweep of one pattern that yields its losses and the overlap of its index sets.
#pragma once

#include "search/indexer_overlap.h"
#include "search/overlap.h"
#include "search/query_overlap.h"
#include "search/sweep_evaluator.h"

namespace indexcache {

struct OverlapPass {
  SequenceLosses losses;
  Overlap overlap;
};

// Which positions' index sets an overlap pass keeps: the sets of all layers meet at the last one,
// so they are kept until then. 1 if those of every query fit the planner's memory, else 2, 4, …:
// every so many positions.
std::int64_t overlap_query_step(const SweepPlanner& planner);

// Bytes that an overlap pass keeps for each row.
std::int64_t overlap_row_bytes(const ModelConfig& config, std::int64_t query_step);

// What an overlap pass measures besides, of every query, whatever the query_step: it needs the sets
// of one layer at a time. Made for the same pattern and tokens; null if not wanted.
struct OverlapExtras {
  QueryOverlap* along_queries = nullptr;
  IndexerOverlap* indexers = nullptr;  // the sets in force must be those of the exact indexer
};

OverlapPass measure_overlap(SweepEvaluator& evaluator, Backend& backend, const Pattern& pattern,
                            const OverlapExtras& extras = {});

// The same for the sequences of a request of one pattern, at every query_step-th position.
OverlapPass measure_overlap(SweepEvaluator& evaluator, Backend& backend, const LossRequest& request,
                            std::int64_t query_step, const OverlapExtras& extras);

}  // namespace indexcache
