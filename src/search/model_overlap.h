// SPDX-License-Identifier: Apache-2.0
// How much of what one model selects another one selects for the same tokens: another checkpoint of
// the same shape, or the same in another precision. Each computes its own forward pass, so a layer
// shows what its indexer does differently, and what it is given.
//
// The models come one after the other: the index sets of the first are kept in host memory, of
// every query_step-th position if those of all do not fit.
#pragma once

#include "backend/backend.h"
#include "calibration/token_set.h"
#include "core/pattern.h"
#include "model/config.h"
#include "search/set_overlap.h"
#include "search/sweep_evaluator.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace indexcache {

// A query of one layer, and how many members its two sets have in common.
struct QueryInCommon {
  std::int64_t common;
  std::size_t sequence;  // in the token set
  std::int64_t position;

  auto operator<=>(const QueryInCommon&) const = default;
};

// Queries of each layer that are named.
inline constexpr std::size_t kWorstQueries = 10;

struct ModelOverlap : SetOverlap {
  std::int64_t query_step = 1;
  std::vector<std::vector<QueryInCommon>> worst_queries;  // [layers], the worst first
};

// The index sets of the layers that run their indexer: sets[n][s] are those of layers[n] for every
// step-th position of sequence s from the first one that selects on, [queries * K].
struct StoredSets {
  std::int64_t step = 1;
  std::vector<std::size_t> layers;
  std::vector<std::vector<std::vector<std::int32_t>>> sets;
};

// 1 if the sets of all queries fit `bytes` of host memory, else 2, 4, …
std::int64_t stored_query_step(const ModelConfig& config, const TokenSet& tokens,
                               const Pattern& pattern, std::int64_t bytes);

// One sweep of `pattern` over all sequences, which keeps the sets. Its losses go to `losses`.
StoredSets keep_sets(SweepEvaluator& evaluator, Backend& backend, const Pattern& pattern,
                     std::int64_t step, SequenceLosses& losses);

// The same sweep of another model, compared with what was kept. Throws InputError if no query drops
// anything.
ModelOverlap compare_sets(SweepEvaluator& evaluator, Backend& backend, const Pattern& pattern,
                          const StoredSets& stored, SequenceLosses& losses);

}  // namespace indexcache
