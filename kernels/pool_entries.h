// SPDX-License-Identifier: Apache-2.0
// Entries of consecutive positions: entry e of a sequence is, for each column c, a mean of the
// values of its `ratio` positions, whose weights are the softmax over these positions of gate +
// bias. If n = 2 width, entries overlap: columns width + c of the entry's own positions, and
// columns c of the `ratio` positions before them, if there are any, are weighed together. float32,
// sums in the order of positions; rounded once.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct PoolEntriesParams {
  const void* x;  // type [rows of positions, 2 n]: n values, then n gates
  Type type;      // f32 or bf16
  std::int64_t x_stride;
  const float* bias;  // [ratio, n]
  void* out;          // out_type [entries, width]
  Type out_type;      // f32 or bf16
  std::int64_t out_stride;
  // [entries]: the first position of each, and the row of its sequence's position 0.
  const RowPlace* places;
  std::int64_t entries;
  int ratio;
  int n;      // width, or twice that
  int width;  // columns of an entry
};

cudaError_t pool_entries(const PoolEntriesParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
