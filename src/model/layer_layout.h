// SPDX-License-Identifier: Apache-2.0
// Which bytes of a checkpoint make up a layer, where they stand in the layer's image in host
// memory, and what becomes of them on the device. Everything from headers: nothing is read here.
//
//   shards --(ImagePart)--> image --(WeightCopy)--> LayerWeights
#pragma once

#include "backend/weight_lane.h"
#include "io/checkpoint.h"
#include "model/config.h"
#include "model/weights.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace indexcache {

// Bytes [first, first + bytes) of a tensor, to be read to `at` of an image. Scales are widened to
// float32 there.
struct ImagePart {
  std::string tensor;
  std::int64_t first;
  std::int64_t bytes;
  std::int64_t at;
  bool scales;
};

struct Layout {
  std::vector<ImagePart> parts;    // by place
  std::vector<WeightCopy> copies;  // by place
  std::int64_t image_bytes = 0;
};

struct LayerLayout : Layout {
  LayerWeights weights;  // what the copies fill
};

struct MatrixLayout : Layout {
  Tensor tensor;
};

// Gives memory for a tensor on the device; may give none where only sizes are asked for.
using AllocateTensor = std::function<Tensor(std::int64_t rows, std::int64_t cols, DType dtype)>;

// A layer of `model`, matrices in `activation`. Absorbed MLA: kv_b's key rows are transposed head
// by head, to stand on the query side (docs/numerics.md, "MLA, absorbed"). An absent correction
// bias is left empty.
LayerLayout lay_out_layer(const ModelConfig& config, const Checkpoint& checkpoint, bool has_indexer,
                          std::int64_t layer, DType activation, const AllocateTensor& allocate);

// One tensor outside the layers; norm weights (`row`) stay float32.
MatrixLayout lay_out_matrix(const ModelConfig& config, const Checkpoint& checkpoint,
                            const std::string& name, DType type, const AllocateTensor& allocate);

// Reads the parts of an image, several at a time. Throws ResourceError when a disk does not give
// them; returns early, with the image unfinished, once `stop` is set.
void read_image(const Checkpoint& checkpoint, const std::vector<ImagePart>& parts, std::byte* image,
                const std::atomic<bool>& stop);

}  // namespace indexcache
