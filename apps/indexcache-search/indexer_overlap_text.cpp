// SPDX-License-Identifier: Apache-2.0
#include "indexer_overlap_text.h"

#include "core/count_text.h"
#include "set_overlap_text.h"

#include <fmt/format.h>

namespace indexcache {

Json indexer_overlap_document(const IndexerOverlap& overlap) {
  Json document = set_overlap_document(overlap);
  document["method"] = indexer_text(overlap.method);
  return document;
}

std::string indexer_overlap_table(const IndexerOverlap& overlap) {
  return fmt::format("{}: share of the exact indexer's {} tokens that it selects too\n{}",
                     indexer_text(overlap.method), count_text(overlap.index_topk),
                     set_overlap_table(overlap));
}

}  // namespace indexcache
