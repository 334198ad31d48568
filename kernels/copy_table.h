// SPDX-License-Identifier: Apache-2.0
// A table of 64-bit numbers below a limit, as 32-bit ones.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct CopyTableParams {
  const std::int64_t* x;  // [count]
  std::int32_t* out;      // [count]; 0 where x is negative or not below `limit`
  std::int64_t count;
  std::int64_t limit;
  int* out_of_range;  // set to 1 if there is such a number
};

cudaError_t copy_table(const CopyTableParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
