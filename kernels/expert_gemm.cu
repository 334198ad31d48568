// SPDX-License-Identifier: Apache-2.0
#include "kernels/expert_gemm.h"
#include "kernels/mma.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kTile = 64;  // rows and columns of a block

// The rows of one block.
struct Tile {
  int expert;  // -1: the block has nothing to do
  std::int64_t first_slot;
  int rows;
};

// Every expert has its own tiles; block y takes the y-th of all.
__device__ Tile find_tile(const ExpertGemmParams& p) {
  std::int64_t first_slot = 0;
  int tile = static_cast<int>(blockIdx.y);
  for (int e = 0; e < p.experts; ++e) {
    const int count = p.counts[e];
    const int tiles = (count + kTile - 1) / kTile;
    if (tile < tiles) {
      return {e, first_slot + tile * kTile, min(kTile, count - tile * kTile)};
    }
    tile -= tiles;
    first_slot += count;
  }
  return {-1, 0, 0};
}

namespace f32 {

constexpr int kDepth = 16;
constexpr int kPitch = kTile + 4;
constexpr int kThreads = 256;

// Element [d][r] of 64 rows; what is not there is zero.
__device__ void load(float (&tile)[kDepth][kPitch], const float* source, int depth, int d,
                     int rows) {
  const int row = static_cast<int>(threadIdx.x) / 4, at = static_cast<int>(threadIdx.x) % 4 * 4;
  float4 four = {};
  if (row < rows && d + at < depth) {
    four = *reinterpret_cast<const float4*>(source + std::int64_t{row} * depth + d + at);
  }
  tile[at][row] = four.x;
  tile[at + 1][row] = four.y;
  tile[at + 2][row] = four.z;
  tile[at + 3][row] = four.w;
}

__global__ void __launch_bounds__(kThreads) expert_gemm_kernel(ExpertGemmParams p) {
  __shared__ float x_tile[kDepth][kPitch], w_tile[kDepth][kPitch];
  const Tile tile = find_tile(p);
  if (tile.expert < 0) return;
  const int first_col = static_cast<int>(blockIdx.x) * kTile;
  const float* x = static_cast<const float*>(p.x) + tile.first_slot * p.depth;
  const float* w =
      static_cast<const float*>(p.weights[tile.expert]) + std::int64_t{first_col} * p.depth;
  const int ty = static_cast<int>(threadIdx.x) / 16 * 4,
            tx = static_cast<int>(threadIdx.x) % 16 * 4;
  float sums[4][4] = {};
  for (int d = 0; d < p.depth; d += kDepth) {
    __syncthreads();
    load(x_tile, x, p.depth, d, tile.rows);
    load(w_tile, w, p.depth, d, p.cols - first_col);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kDepth; ++i) {
      const float4 a = *reinterpret_cast<const float4*>(&x_tile[i][ty]);
      const float4 b = *reinterpret_cast<const float4*>(&w_tile[i][tx]);
      const float as[4] = {a.x, a.y, a.z, a.w}, bs[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int r = 0; r < 4; ++r) {
#pragma unroll
        for (int c = 0; c < 4; ++c) sums[r][c] = fmaf(as[r], bs[c], sums[r][c]);
      }
    }
  }
  for (int r = 0; r < 4 && ty + r < tile.rows; ++r) {
    float* out = static_cast<float*>(p.out) + (tile.first_slot + ty + r) * p.cols + first_col + tx;
    for (int c = 0; c < 4 && first_col + tx + c < p.cols; ++c) out[c] = sums[r][c];
  }
}

}  // namespace f32

namespace tensor_cores {

constexpr int kDepth = 64;
constexpr int kPitch = kDepth + 8;
constexpr int kThreads = 128;

__device__ void load(bf16* tile, const bf16* source, int depth, int d, int rows) {
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kDepth / 8; i += kThreads) {
    const int row = i / (kDepth / 8), at = i % (kDepth / 8) * 8;
    const bool present = row < rows && d + at < depth;
    copy_async(shared_address(tile + row * kPitch + at),
               source + (present ? std::int64_t{row} * depth + d + at : 0), present);
  }
}

// A warp takes 16 rows.
__global__ void __launch_bounds__(kThreads) expert_gemm_kernel(ExpertGemmParams p) {
  __shared__ __align__(16) bf16 x_tile[kTile * kPitch], w_tile[kTile * kPitch];
  const Tile tile = find_tile(p);
  if (tile.expert < 0) return;
  const int first_col = static_cast<int>(blockIdx.x) * kTile;
  const bf16* x = static_cast<const bf16*>(p.x) + tile.first_slot * p.depth;
  const bf16* w =
      static_cast<const bf16*>(p.weights[tile.expert]) + std::int64_t{first_col} * p.depth;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int first_row = static_cast<int>(threadIdx.x) / kWarp * 16;
  const std::uint32_t a_address =
      shared_address(x_tile + (first_row + lane % 16) * kPitch + lane / 16 * 8);
  const std::uint32_t b_address =
      shared_address(w_tile + (lane % 8 + lane / 16 * 8) * kPitch + lane / 8 % 2 * 8);
  float d[kTile / 8][4] = {};
  for (int depth = 0; depth < p.depth; depth += kDepth) {
    __syncthreads();
    load(x_tile, x, p.depth, depth, tile.rows);
    load(w_tile, w, p.depth, depth, p.cols - first_col);
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
#pragma unroll
    for (int step = 0; step < kDepth; step += 16) {
      std::uint32_t a[4];
      load_matrices(a, a_address + static_cast<std::uint32_t>(step * 2));
#pragma unroll
      for (int n = 0; n < kTile / 16; ++n) {
        std::uint32_t b[4];
        load_matrices(b, b_address + static_cast<std::uint32_t>((n * 16 * kPitch + step) * 2));
        mma(d[2 * n], a, b[0], b[1], bf16{});
        mma(d[2 * n + 1], a, b[2], b[3], bf16{});
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kTile / 8 * 4; ++i) {
    const int row = first_row + lane / 4 + i % 4 / 2 * 8;
    const int col = first_col + i / 4 * 8 + 2 * (lane % 4) + i % 2;
    if (row >= tile.rows || col >= p.cols) continue;
    static_cast<bf16*>(p.out)[(tile.first_slot + row) * p.cols + col] =
        from_float<bf16>(d[i / 4][i % 4]);
  }
}

}  // namespace tensor_cores
}  // namespace

cudaError_t expert_gemm(const ExpertGemmParams& params, cudaStream_t stream) {
  if (params.slots == 0) return cudaSuccess;
  const bool wide = params.type == Type::f32;
  if (params.experts > kMostGroupedExperts || params.depth % (wide ? 4 : 8) != 0) {
    return cudaErrorInvalidValue;
  }
  // An upper bound: every expert may end in a partial tile.
  const std::int64_t tiles = ceil_div(params.slots, kTile) + params.experts;
  if (tiles > 65535) return cudaErrorInvalidValue;
  const dim3 grid(static_cast<unsigned>(ceil_div(params.cols, kTile)),
                  static_cast<unsigned>(tiles));
  if (wide) {
    f32::expert_gemm_kernel<<<grid, f32::kThreads, 0, stream>>>(params);
  } else if (params.type == Type::bf16) {
    tensor_cores::expert_gemm_kernel<<<grid, tensor_cores::kThreads, 0, stream>>>(params);
  } else {
    return cudaErrorInvalidValue;
  }
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
