// SPDX-License-Identifier: Apache-2.0
#include "distill/student_weights.h"

#include <utility>

namespace indexcache {

StudentWeights::StudentWeights(WeightSource& base, std::map<std::size_t, IndexerWeights> indexers)
    : base_(base), indexers_(std::move(indexers)) {
  outer_ = base.outer();
}

const LayerWeights& StudentWeights::layer(std::int64_t layer) {
  const LayerWeights& stored = base_.layer(layer);
  const auto found = indexers_.find(static_cast<std::size_t>(layer));
  if (found == indexers_.end()) return stored;
  current_ = stored;
  current_.indexer = found->second;
  return current_;
}

IndexerWeights upload_indexer(Device& device, const ModelConfig& c, const TrainedIndexer& indexer) {
  const auto row = [&](const std::vector<float>& values) {
    return device.upload(values, 1, c.index_head_dim);
  };
  return {
      .wq_b = device.upload_matrix(indexer.wq_b, c.index_heads * c.index_head_dim, c.q_lora_rank),
      .wk = device.upload_matrix(indexer.wk, c.index_head_dim, c.hidden),
      .k_norm = row(indexer.k_norm),
      .k_norm_bias = row(indexer.k_norm_bias),
      .weights_proj = device.upload_matrix(indexer.weights_proj, c.index_heads, c.hidden)};
}

}  // namespace indexcache
