// SPDX-License-Identifier: Apache-2.0
#include "search/segment_indexers.h"

namespace indexcache {

const IndexerWeights* SegmentIndexers::of(const Pattern& pattern, std::size_t layer) const {
  if (!pattern.is_full(layer)) return nullptr;
  std::size_t end = layer + 1;
  while (end < pattern.layers() && !pattern.is_full(end)) ++end;
  const auto found = indexers_.find({layer, end});
  return found == indexers_.end() ? nullptr : &found->second;
}

}  // namespace indexcache
