// SPDX-License-Identifier: Apache-2.0
// Indexers that were trained for the segments of patterns (docs/distillation.md). A pattern runs
// the one of each of its segments, and the checkpoint's where there is none.
#pragma once

#include "core/pattern.h"
#include "model/weights.h"
#include "search/segment_table.h"

#include <cstddef>
#include <map>
#include <utility>

namespace indexcache {

class SegmentIndexers {
 public:
  // Weights may be empty tensors where sweeps are only counted.
  explicit SegmentIndexers(std::map<PatternSegment, IndexerWeights> indexers)
      : indexers_(std::move(indexers)) {}

  // What `layer` runs under `pattern`: null for the checkpoint's indexer, and at S layers.
  const IndexerWeights* of(const Pattern& pattern, std::size_t layer) const;

  const std::map<PatternSegment, IndexerWeights>& all() const { return indexers_; }

 private:
  std::map<PatternSegment, IndexerWeights> indexers_;
};

}  // namespace indexcache
