// SPDX-License-Identifier: Apache-2.0
// The weights of a model with other indexers in some of its layers.
#pragma once

#include "model/stored_indexer.h"
#include "model/weights.h"

#include <cstddef>
#include <map>

namespace indexcache {

class StudentWeights : public WeightSource {
 public:
  // `indexers` replace those of their layers; the base must outlive the object.
  StudentWeights(WeightSource& base, std::map<std::size_t, IndexerWeights> indexers);

  const LayerWeights& layer(std::int64_t layer) override;
  bool is_stable() const override { return base_.is_stable(); }

 private:
  WeightSource& base_;
  std::map<std::size_t, IndexerWeights> indexers_;
  LayerWeights current_;
};

// An indexer on the device, in the types that products take.
IndexerWeights upload_indexer(Device& device, const ModelConfig& config,
                              const TrainedIndexer& indexer);

}  // namespace indexcache
