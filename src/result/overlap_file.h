// SPDX-License-Identifier: Apache-2.0
// overlap.h5 (docs/formats.md).
#pragma once

#include "result/result.h"
#include "search/overlap.h"

#include <filesystem>
#include <string>

namespace indexcache {

// Replaces `path`. Datasets: /overlap [L, L], /by_position/overlap [B, L, L], /by_position/end [B],
// /by_position/queries [B], /counts [B, L, L], /blocks [n, 2], /adjacent [L - 1].
void write_overlap(const std::filesystem::path& path, const Overlap& overlap,
                   const ModelSummary& model, const TokenSummary& tokens);

struct StoredOverlap {
  Overlap overlap;
  std::string model_config_sha256;
  std::string tokens_sha256;
};

// What write_overlap wrote. Throws InputError for another schema, shapes that contradict each
// other, or counts that no measurement gives.
StoredOverlap read_overlap(const std::filesystem::path& path);

}  // namespace indexcache
