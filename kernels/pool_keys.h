// SPDX-License-Identifier: Apache-2.0
// Means of blocks of consecutive indexer keys, as HISA has them (docs/numerics.md): of the keys as
// they are multiplied, in float32 and ascending order, and then in their type again; in e4m3 with
// scale max(max |mean| / 448, 1e-10) per block.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kMostPooledWidth = 8192;

struct PoolKeysParams {
  const void* keys;         // type [blocks * block, width]
  const float* key_scales;  // [blocks * block] for e4m3, else null
  Type type;                // f32, bf16 or e4m3
  void* means;              // type [blocks, width]
  float* mean_scales;       // [blocks] for e4m3, else null
  std::int64_t blocks;
  int block;  // keys of a block
  int width;
};

cudaError_t pool_keys(const PoolKeysParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
