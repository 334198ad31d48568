// SPDX-License-Identifier: Apache-2.0
// FP8 (E4M3) numbers that stay as they are stored.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct CopyFp8Params {
  const void* x;       // e4m3 [count], 16-byte aligned
  void* out;           // the same
  std::int64_t count;  // a multiple of 16
  int* not_finite;     // set to 1 if a number is NaN, which is all that E4M3 has beside numbers
};

cudaError_t copy_fp8(const CopyFp8Params& params, cudaStream_t stream);

}  // namespace indexcache::kernels
