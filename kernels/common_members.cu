// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/common_members.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

__device__ bool contains(const std::int32_t* set, int k, std::int32_t member) {
  int low = 0, high = k;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (set[middle] < member) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < k && set[low] == member;
}

// A warp has one row.
__global__ void __launch_bounds__(kThreads) common_kernel(CommonMembersParams p) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (row >= p.rows) return;
  const std::int32_t* a = p.a + row * p.a_stride;
  const std::int32_t* b = p.b + row * p.b_stride;
  int count = 0;
  for (int i = static_cast<int>(threadIdx.x) % kWarp; i < p.k; i += kWarp) {
    count += contains(b, p.k, a[i]) ? 1 : 0;
  }
  count = __reduce_add_sync(kAllLanes, count);
  if (threadIdx.x % kWarp == 0) p.counts[row] = count;
}

}  // namespace

cudaError_t common_members(const CommonMembersParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  common_kernel<<<static_cast<unsigned>(ceil_div(params.rows, kWarps)), kThreads, 0, stream>>>(
      params);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
