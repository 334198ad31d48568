// SPDX-License-Identifier: Apache-2.0
// overlap.h5 (docs/formats.md).
#pragma once

#include "result/result.h"
#include "search/overlap.h"
#include "search/query_overlap.h"

#include <filesystem>
#include <string>

namespace indexcache {

// Replaces `path`. Datasets: /overlap [L, L], /by_position/overlap [B, L, L], /by_position/end [B],
// /by_position/queries [B], /counts [B, L, L], /blocks [n, 2], /adjacent [L - 1]; and, for the n
// layers of `along_queries`, /along_queries/layers [n], /along_queries/distances [D],
// /along_queries/groups [G], /along_queries/totals [B, D + G], /along_queries/counts [n, B, D + G].
void write_overlap(const std::filesystem::path& path, const Overlap& overlap,
                   const ModelSummary& model, const TokenSummary& tokens,
                   const QueryOverlap* along_queries = nullptr);

struct StoredOverlap {
  Overlap overlap;
  std::string model_config_sha256;
  std::string tokens_sha256;
};

// What write_overlap wrote, without what is along queries. Throws InputError for another schema,
// shapes that contradict each other, or counts that no measurement gives.
StoredOverlap read_overlap(const std::filesystem::path& path);

}  // namespace indexcache
