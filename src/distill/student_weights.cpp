// SPDX-License-Identifier: Apache-2.0
#include "distill/student_weights.h"

#include <utility>

namespace indexcache {

StudentWeights::StudentWeights(WeightSource& base, std::map<std::size_t, IndexerWeights> indexers)
    : base_(base), indexers_(std::move(indexers)) {
  embedding_ = base.embedding();
  final_norm_ = base.final_norm();
  lm_head_ = base.lm_head();
}

const LayerWeights& StudentWeights::layer(std::int64_t layer) {
  const LayerWeights& stored = base_.layer(layer);
  const auto found = indexers_.find(static_cast<std::size_t>(layer));
  if (found == indexers_.end()) return stored;
  current_ = stored;
  current_.indexer = found->second;
  return current_;
}

}  // namespace indexcache
