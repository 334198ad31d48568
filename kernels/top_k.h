// SPDX-License-Identifier: Apache-2.0
// Total-order top-k: of the candidates of a row, the k with the highest score, the
// lower position first among equals (-0 equals +0), written in ascending order. Exact, and the same
// on every device: docs/numerics.md. A row with fewer than k candidates gets all of them, then -1.
//
// Radix selection, one block per row: a histogram of the 12 highest bits of an order-preserving
// key, then of 10 and 10 more if needed. As soon as what can still win fits in shared memory it is
// copied there in order, so that a row is usually read twice.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct TopKParams {
  const float* scores;     // [rows, candidates], no NaN; 16-byte aligned
  std::int64_t stride;     // of scores, a multiple of 4
  const RowPlace* places;  // [rows]
  std::int32_t* sets;      // [rows, k]
  std::int64_t sets_stride;
  std::int64_t rows;
  std::int64_t k;
  std::int64_t longest;  // most candidates of any row: chooses the size of a block
};

cudaError_t top_k(const TopKParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
