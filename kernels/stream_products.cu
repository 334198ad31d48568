// SPDX-License-Identifier: Apache-2.0
// A block has 16 rows, of which each of two teams of four warps takes eight. The depth comes in
// chunks through a ring in shared memory; a thread multiplies two numbers of each chunk of its
// eight rows with all columns, so that a number from shared memory serves 6 or 24 multiply-adds. In
// the end the sums of a team's threads are added up.
#include "kernels/architecture.h"
#include "kernels/common.cuh"
#include "kernels/mma.cuh"
#include "kernels/stream_products.h"

namespace indexcache::kernels {
namespace {

constexpr int kRows = 8;  // of a thread
constexpr int kTeams = 2;
constexpr int kTeamThreads = 128;
constexpr int kTeamWarps = kTeamThreads / kWarp;
constexpr int kThreads = kTeams * kTeamThreads;
constexpr int kBlockRows = kTeams * kRows;
constexpr int kChunk = 2 * kTeamThreads;  // of the depth
constexpr int kStages = 4;

template <int Columns>
constexpr int kStageFloats = (kBlockRows + Columns) * kChunk;
template <int Columns>
constexpr int kBytes = kStages* kStageFloats<Columns>* static_cast<int>(sizeof(float));

// Begins the copy of a chunk: the rows of x, then those of the mixer. What is not there is zero.
template <int Columns>
__device__ void copy_chunk(const StreamProductsParams& p, float* to, std::int64_t first_row,
                           int chunk) {
  constexpr int kParts = kChunk / 4;
  for (int i = static_cast<int>(threadIdx.x); i < (kBlockRows + Columns) * kParts; i += kThreads) {
    const int row = i / kParts, depth = chunk * kChunk + i % kParts * 4;
    const int column = row - kBlockRows;
    const bool of_x = row < kBlockRows;
    const bool present = depth < p.depth && (of_x ? first_row + row < p.rows : column < p.columns);
    const float* from =
        of_x ? p.x + (first_row + row) * p.stride : p.mixer + std::int64_t{column} * p.depth;
    copy_async(shared_address(to + 4 * i), present ? from + depth : p.x, present);
  }
}

// What a thread adds up.
template <int Columns>
struct Sums {
  float products[kRows * Columns] = {};
  float squares[kRows] = {};

  __device__ __forceinline__ void add(const float* stage) {
    const int team = static_cast<int>(threadIdx.x) / kTeamThreads;
    const float* own = stage + 2 * (static_cast<int>(threadIdx.x) % kTeamThreads);
    float2 x[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      x[r] = *reinterpret_cast<const float2*>(own + (team * kRows + r) * kChunk);
      squares[r] = fmaf(x[r].x, x[r].x, squares[r]);
      squares[r] = fmaf(x[r].y, x[r].y, squares[r]);
    }
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      const float2 w = *reinterpret_cast<const float2*>(own + (kBlockRows + c) * kChunk);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        float& sum = products[r * Columns + c];
        sum = fmaf(x[r].x, w.x, sum);
        sum = fmaf(x[r].y, w.y, sum);
      }
    }
  }
};

// Adds sums[0, Count) over the lanes; afterwards a lane has Count / 32 of them, from the returned
// one on. Half of what is left goes to the other lane at each step.
template <int Count, int Offset = kWarp / 2, int All>
__device__ __forceinline__ int add_lanes(float (&sums)[All]) {
  if constexpr (Offset == 0) {
    return 0;
  } else {
    constexpr int kHalf = Count / 2;
    const bool upper = (threadIdx.x & Offset) != 0;
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      const float sent = upper ? sums[i] : sums[i + kHalf];
      const float kept = upper ? sums[i + kHalf] : sums[i];
      sums[i] = kept + __shfl_xor_sync(kAllLanes, sent, Offset);
    }
    return (upper ? kHalf : 0) + add_lanes<kHalf, Offset / 2>(sums);
  }
}

// Adds the sums of a team's threads and writes them. `shared` is free memory.
template <int Columns>
__device__ void write_sums(const StreamProductsParams& p, Sums<Columns>& sums, float* shared,
                           std::int64_t first_row) {
  constexpr int kAll = kRows * (Columns + 1);  // of a row its products, then its squares
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  float* const of_warp = shared + warp * kAll;
  constexpr int kOfLane = kRows * Columns / kWarp;
  const int first = add_lanes<kRows * Columns>(sums.products);
  for (int i = 0; i < kOfLane; ++i) {
    const int at = first + i;
    of_warp[at / Columns * (Columns + 1) + at % Columns] = sums.products[i];
  }
  for (int r = 0; r < kRows; ++r) {
    const float squares = warp_sum(sums.squares[r]);
    if (lane == 0) of_warp[r * (Columns + 1) + Columns] = squares;
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kTeams * kAll; i += kThreads) {
    const int team = i / kAll, at = i % kAll;
    float sum = 0;
    for (int w = 0; w < kTeamWarps; ++w) sum += shared[(team * kTeamWarps + w) * kAll + at];
    const std::int64_t row = first_row + team * kRows + at / (Columns + 1);
    const int column = at % (Columns + 1);
    if (row >= p.rows) continue;
    if (column == Columns) {
      p.squares[row] = sum;
    } else if (column < p.columns) {
      p.products[row * p.columns + column] = sum;
    }
  }
}

template <int Columns>
__global__ void __launch_bounds__(kThreads, 1) stream_products_kernel(StreamProductsParams p) {
  extern __shared__ __align__(16) float ring[];
  const std::int64_t first_row = std::int64_t{blockIdx.x} * kBlockRows;
  const int chunks = (p.depth + kChunk - 1) / kChunk;
  const auto stage = [&](int chunk) { return ring + chunk % kStages * kStageFloats<Columns>; };
  for (int chunk = 0; chunk < kStages - 1; ++chunk) {
    if (chunk < chunks) copy_chunk<Columns>(p, stage(chunk), first_row, chunk);
    copy_async_commit();
  }
  Sums<Columns> sums;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    copy_async_wait<kStages - 2>();
    __syncthreads();  // everybody's copies of this chunk are there, and the one before is read
    const int next = chunk + kStages - 1;
    if (next < chunks) copy_chunk<Columns>(p, stage(next), first_row, next);
    copy_async_commit();
    sums.add(stage(chunk));
  }
  copy_async_wait<0>();
  __syncthreads();
  write_sums(p, sums, ring, first_row);
}

template <int Columns>
cudaError_t launch(const StreamProductsParams& p, cudaStream_t stream) {
  const auto kernel = stream_products_kernel<Columns>;
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes<Columns>);
  if (status != cudaSuccess) return status;
  kernel<<<static_cast<unsigned>(ceil_div(p.rows, kBlockRows)), kThreads, kBytes<Columns>,
           stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

bool stream_products_apply(const StreamProductsParams& p) {
  return p.columns >= 1 && p.columns <= kMostStreamProducts && p.depth % 4 == 0 &&
         whole_chunks(p.x, p.stride * 4) && whole_chunks(p.mixer, std::int64_t{p.depth} * 4) &&
         most_shared_bytes() >= kBytes<kMostStreamProducts>;
}

cudaError_t stream_products(const StreamProductsParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  if (!stream_products_apply(params)) return cudaErrorInvalidValue;
  return params.columns <= 8 ? launch<8>(params, stream) : launch<24>(params, stream);
}

}  // namespace indexcache::kernels
