// SPDX-License-Identifier: Apache-2.0
#include "search/indexer_overlap.h"

#include <algorithm>

namespace indexcache {

IndexerOverlap prepare_indexer_overlap(const ModelConfig& config, const TokenSet& tokens,
                                       const Pattern& pattern, const Hisa& method) {
  const std::int64_t advised =
      std::max(config.first_selecting_position(), method.blocks * method.block);
  return {prepare_set_overlap(config, tokens, pattern, advised), method};
}

}  // namespace indexcache
