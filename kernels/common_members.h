// SPDX-License-Identifier: Apache-2.0
// How many members two index sets of every row have in common.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct CommonMembersParams {
  const std::int32_t* a;  // [rows, k], ascending in each row
  const std::int32_t* b;  // likewise
  std::int64_t a_stride, b_stride;
  std::int64_t rows;
  int k;
  std::int32_t* counts;  // [rows]
};

cudaError_t common_members(const CommonMembersParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
