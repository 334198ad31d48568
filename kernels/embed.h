// SPDX-License-Identifier: Apache-2.0
// Embedding lookup: out[r] = table[tokens[r]]. Exact; f32 is copied bit by bit, so that a table may
// also have 32-bit integers. One block per row.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct EmbedParams {
  const std::int32_t* tokens;  // [rows], each in [0, V)
  const void* table;           // table_type [V, width]
  Type table_type;
  float* out;  // [rows, width]
  std::int64_t out_stride;
  std::int64_t rows;
  std::int64_t width;
};

cudaError_t embed(const EmbedParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
