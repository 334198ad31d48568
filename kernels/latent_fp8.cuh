// SPDX-License-Identifier: Apache-2.0
// The FP8 layout of latents (paged_cache.h), a warp per position: lane i has numbers
// [16 i, 16 i + 16), and eight lanes have a group with its scale.
#pragma once

#include "kernels/common.cuh"
#include "kernels/paged_cache.h"

namespace indexcache::kernels {

inline constexpr int kLatentPerLane = kLatentRank / kWarp;
inline constexpr int kLatentGroupLanes = kLatentGroup / kLatentPerLane;

// The numbers of a lane times their scale, from a position's bytes.
__device__ inline void read_latent(const char* position, int lane,
                                   float (&values)[kLatentPerLane]) {
  const uint4 bits = reinterpret_cast<const uint4*>(position)[lane];
  const float scale =
      reinterpret_cast<const float*>(position + kLatentRank)[lane / kLatentGroupLanes];
  const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
  for (int i = 0; i < kLatentPerLane / 2; ++i) {
    const auto pair = static_cast<__nv_fp8x2_storage_t>(words[i / 2] >> (i % 2 * 16));
    const float2 two = __half22float2(__half2(__nv_cvt_fp8x2_to_halfraw2(pair, __NV_E4M3)));
    values[2 * i] = two.x * scale;
    values[2 * i + 1] = two.y * scale;
  }
}

// The rotated part of a position.
__device__ inline const bf16* latent_rope(const char* position) {
  return reinterpret_cast<const bf16*>(position + kLatentRank + 4 * kLatentScales);
}

}  // namespace indexcache::kernels
