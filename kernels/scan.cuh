// SPDX-License-Identifier: Apache-2.0
// Sums over the lanes and threads before one.
#pragma once

#include "kernels/common.cuh"

namespace indexcache::kernels {

__device__ inline int lane_of() {
  return static_cast<int>(threadIdx.x) % kWarp;
}
__device__ inline int warp_of() {
  return static_cast<int>(threadIdx.x) / kWarp;
}

__device__ inline unsigned warp_scan(unsigned value) {
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const unsigned other = __shfl_up_sync(kAllLanes, value, offset);
    if (lane_of() >= offset) value += other;
  }
  return value;
}

// Exclusive sum over the block in thread order. One barrier; another one has to pass before the
// next call.
template <int Threads>
__device__ unsigned block_scan(unsigned value, unsigned* totals, unsigned& total) {
  constexpr int kWarps = Threads / kWarp;
  const unsigned inclusive = warp_scan(value);
  if (lane_of() == kWarp - 1) totals[warp_of()] = inclusive;
  __syncthreads();
  const unsigned of_warps = warp_scan(lane_of() < kWarps ? totals[lane_of()] : 0);
  total = __shfl_sync(kAllLanes, of_warps, kWarp - 1);
  const unsigned before = __shfl_sync(kAllLanes, of_warps, (warp_of() + kWarp - 1) % kWarp);
  return inclusive - value + (warp_of() == 0 ? 0 : before);
}

}  // namespace indexcache::kernels
