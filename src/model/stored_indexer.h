// SPDX-License-Identifier: Apache-2.0
// Retrained indexers in the form in which their checkpoint stores the ones that they replace.
#pragma once

#include "io/checkpoint.h"
#include "model/config.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace indexcache {

// The weights of an indexer as float32, row-major; symbols as in ModelConfig.
struct TrainedIndexer {
  std::int64_t layer = 0;
  std::vector<float> wq_b;          // [Ni * Di, rq]
  std::vector<float> wk;            // [Di, H]
  std::vector<float> k_norm;        // [Di]
  std::vector<float> k_norm_bias;   // [Di]
  std::vector<float> weights_proj;  // [Ni, H]

  bool operator==(const TrainedIndexer&) const = default;
};

// A tensor as a shard holds it.
struct EncodedTensor {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;
};

struct StoredIndexer {
  std::vector<EncodedTensor> tensors;  // weights, and the scales of those in FP8
  TrainedIndexer dequantized;          // what read_indexer will read from them
};

// Names of the tensors that an indexer of the checkpoint consists of, scales included. Throws
// InputError if one of them is missing or of a type that cannot be read. Reads headers only.
std::vector<std::string> stored_indexer_names(const ModelConfig& config,
                                              const Checkpoint& checkpoint, std::int64_t layer);

// The indexer of a layer. Throws what read_floats throws.
TrainedIndexer read_indexer(const ModelConfig& config, const Checkpoint& checkpoint,
                            std::int64_t layer);

// Every tensor gets the dtype of the one that it replaces, rounded to the nearest number, ties to
// even. F8_E4M3 gets the blocks of the source, and scales of the same name, dtype and shape: the
// largest magnitude of a block becomes 448 or, if all scales of the source are powers of two, the
// scale is the least power of two for which it stays within 448. Throws InputError naming the
// tensor when a value is not finite, or too large for the dtype. Reads scales of the source.
StoredIndexer quantize_indexer(const ModelConfig& config, const Checkpoint& checkpoint,
                               const TrainedIndexer& indexer);

}  // namespace indexcache
