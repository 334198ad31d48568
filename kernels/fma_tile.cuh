// SPDX-License-Identifier: Apache-2.0
// Products of 64 x 64 tiles on CUDA cores, 4 x 4 per thread, in ascending order of the dimension
// that is summed: what float32 and the widths that tensor cores do not take use.
#pragma once

#include "kernels/common.cuh"

namespace indexcache::kernels {

inline constexpr int kFmaTile = 64;
inline constexpr int kFmaDepth = 32;  // dimensions in shared memory at a time
inline constexpr int kFmaPitch = kFmaTile + 4;
inline constexpr int kFmaThreads = 256;  // thread 16 y + x has rows 4 y, … and columns 4 x, …

// [kFmaTile] rows of shared memory, 16-byte aligned: the left operand of a product in the first
// kFmaDepth and the right one in the others, or one tile.
using FmaRow = float[kFmaPitch];
static_assert(2 * kFmaDepth == kFmaTile);

__device__ inline float4 load_four(const float* from) {
  return *reinterpret_cast<const float4*>(from);
}
__device__ inline float4 load_four(const bf16* from) {
  const uint2 bits = *reinterpret_cast<const uint2*>(from);
  return {__uint_as_float(bits.x << 16), __uint_as_float(bits.x & 0xffff0000u),
          __uint_as_float(bits.y << 16), __uint_as_float(bits.y & 0xffff0000u)};
}

// Element [d][r] of an operand; rows from `count` and dimensions from `depth` on are zero.
template <typename T>
__device__ inline void load_operand(FmaRow* tile, const T* source, std::int64_t stride, int count,
                                    int depth) {
  for (int i = static_cast<int>(threadIdx.x); i < kFmaTile * kFmaDepth / 4; i += kFmaThreads) {
    const int row = i / (kFmaDepth / 4);
    const int d = i % (kFmaDepth / 4) * 4;
    float4 four = {};
    if (row < count && d < depth) four = load_four(source + row * stride + d);
    tile[d][row] = four.x;
    tile[d + 1][row] = four.y;
    tile[d + 2][row] = four.z;
    tile[d + 3][row] = four.w;
  }
}

// sums[i][j] += sum over d of a[d][4 y + i] * b[d][4 x + j]
template <int Depth>
__device__ inline void multiply_tiles(const FmaRow* a, const FmaRow* b, float (&sums)[4][4]) {
  const int y = static_cast<int>(threadIdx.x) / 16 * 4, x = static_cast<int>(threadIdx.x) % 16 * 4;
#pragma unroll 8
  for (int d = 0; d < Depth; ++d) {
    const float4 left = load_four(&a[d][y]), right = load_four(&b[d][x]);
    const float l[4] = {left.x, left.y, left.z, left.w};
    const float r[4] = {right.x, right.y, right.z, right.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(l[i], r[j], sums[i][j]);
    }
  }
}

// sums[i][j] = a_row(4 y + i) . b_row(4 x + j), for rows of `width` numbers.
template <typename T>
__device__ inline void multiply_rows(FmaRow* buffer, const T* a, std::int64_t a_stride, int a_count,
                                     const T* b, std::int64_t b_stride, int b_count, int width,
                                     float (&sums)[4][4]) {
  for (auto& row : sums) {
    for (float& sum : row) sum = 0;
  }
  for (int d = 0; d < width; d += kFmaDepth) {
    __syncthreads();
    load_operand(buffer, a + d, a_stride, a_count, width - d);
    load_operand(buffer + kFmaDepth, b + d, b_stride, b_count, width - d);
    __syncthreads();
    multiply_tiles<kFmaDepth>(buffer, buffer + kFmaDepth, sums);
  }
}

}  // namespace indexcache::kernels
