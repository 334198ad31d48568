// SPDX-License-Identifier: Apache-2.0
#include "kernels/top_k.h"

#include <cstdint>

namespace indexcache::kernels {

cudaError_t top_k(const TopKParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  if (params.stride % 4 != 0 || params.k <= 0 || params.longest > (1 << 30) ||
      reinterpret_cast<std::uintptr_t>(params.scores) % 16 != 0) {
    return cudaErrorInvalidValue;
  }
  if (params.longest <= kMostTwice) return top_k_radix(params, stream);
  if (top_k_sm90_applies(params)) return top_k_sm90(params, stream);
  if (top_k_stream_applies(params)) return top_k_stream(params, stream);
  return top_k_radix(params, stream);
}

}  // namespace indexcache::kernels
