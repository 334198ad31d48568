// SPDX-License-Identifier: Apache-2.0
// overlap.h5 (docs/formats.md).
#pragma once

#include "overlap/overlap.h"
#include "report/run_record.h"

#include <filesystem>

namespace indexcache {

// Replaces `path`. Datasets: /overlap [L, L], /by_position/overlap [B, L, L], /by_position/end [B],
// /by_position/queries [B], /counts [B, L, L], /blocks [n, 2], /adjacent [L - 1].
void write_overlap(const std::filesystem::path& path, const Overlap& overlap,
                   const ModelSummary& model, const TokenSummary& tokens);

}  // namespace indexcache
