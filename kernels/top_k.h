// SPDX-License-Identifier: Apache-2.0
// Total-order top-k: of the candidates of a row, the k with the highest score, the lower position
// first among equals (-0 equals +0), written in ascending order. Exact, and the same on every
// device: docs/numerics.md. A row with fewer than k candidates gets all of them, then -1. With NaN
// among the scores it is some k candidates, so that nothing is read where no key is: the loss
// tells.
//
//   up to kMostTwice candidates      top_k_radix.cu: radix selection, a row is read twice
//   up to kMostStreamed of k         top_k_stream.cu: a row is read once, through a gate
//     and few long rows, on Hopper   top_k_sm90.cu: the same by a cluster of blocks per row
//   larger k, or too little room     top_k_radix.cu
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr std::int64_t kMostTwice = 4096;
inline constexpr std::int64_t kMostStreamed = 8192;

struct TopKParams {
  const float* scores;     // [rows, candidates], 16-byte aligned
  std::int64_t stride;     // of scores, a multiple of 4
  const RowPlace* places;  // [rows]
  std::int32_t* sets;      // [rows, k]
  std::int64_t sets_stride;
  std::int64_t rows;
  std::int64_t k;
  std::int64_t longest;  // most candidates of any row: chooses the kernel
};

cudaError_t top_k(const TopKParams& params, cudaStream_t stream);

// The kernels by themselves, for tests and benchmarks.
bool top_k_stream_applies(const TopKParams& params);
cudaError_t top_k_stream(const TopKParams& params, cudaStream_t stream);
cudaError_t top_k_radix(const TopKParams& params, cudaStream_t stream);
bool top_k_sm90_applies(const TopKParams& params);
cudaError_t top_k_sm90(const TopKParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
