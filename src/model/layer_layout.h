// SPDX-License-Identifier: Apache-2.0
// Which bytes of a checkpoint make up a layer, at which offsets of the layer's blob in host memory
// they are, and what they become on the device. Laying out reads only headers.
//
//   shards --(BlobPart)--> blob --(WeightCopy)--> LayerWeights
#pragma once

#include "backend/device.h"
#include "backend/weight_uploader.h"
#include "io/checkpoint.h"
#include "model/config.h"
#include "model/weights.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace indexcache {

// Bytes [first, first + bytes) of a tensor, read to offset `at` of a blob, where BF16 scales are
// widened to float32.
struct BlobPart {
  std::string tensor;
  std::int64_t first;
  std::int64_t bytes;
  std::int64_t at;
  bool widened;
};

// How many matrices that only products read are stored in FP8, and how many of them stay so.
struct Fp8Count {
  std::int64_t stored = 0;
  std::int64_t kept = 0;
};

struct BlobLayout {
  std::vector<BlobPart> parts;     // by offset
  std::vector<WeightCopy> copies;  // by offset
  std::int64_t blob_bytes = 0;
  Fp8Count fp8;
};

struct LayerBlobLayout : BlobLayout {
  LayerWeights weights;  // what the copies fill
};

struct MatrixBlobLayout : BlobLayout {
  Tensor tensor;
};

// Allocates a tensor on the device; may return an empty one if only sizes are needed.
using AllocateTensor = std::function<Tensor(std::int64_t rows, std::int64_t cols, DType dtype)>;

// A layer of `model`, matrices in types.activation or, if they can (model/block_fp8.h), in FP8.
// Absorbed MLA: kv_b's key rows are transposed head by head, so that they apply to queries
// (docs/numerics.md). An absent correction bias stays empty.
LayerBlobLayout lay_out_layer(const ModelConfig& config, const Checkpoint& checkpoint,
                              bool has_indexer, std::int64_t layer, WeightTypes types,
                              const AllocateTensor& allocate);

// One tensor outside the layers; norm weights (`row`) stay float32.
MatrixBlobLayout lay_out_matrix(const ModelConfig& config, const Checkpoint& checkpoint,
                                const std::string& name, DType type,
                                const AllocateTensor& allocate);

// Reads the parts of a blob, several at a time. Throws ResourceError if a disk fails to
// deliver them; returns early, with the blob unfinished, once `stop` is set.
void read_blob(const Checkpoint& checkpoint, const std::vector<BlobPart>& parts, std::byte* blob,
               const std::atomic<bool>& stop);

}  // namespace indexcache
