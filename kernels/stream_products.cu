// SPDX-License-Identifier: Apache-2.0
// A block has 16 rows. Each of its four teams of four warps takes eight of them and half of the
// columns. The depth comes in chunks through a ring in shared memory; a thread multiplies two
// numbers of each chunk of its rows with its columns, so that a number from shared memory serves 8
// or 12 multiply-adds. In the end the sums of a team's threads are added up.
//
// Bounds, per chunk of 24 columns: 832 cycles of multiply-adds, 640 of shared memory, and the L2,
// from which every block reads the whole mixer: 2.5 bytes for each that the rows have.
#include "kernels/architecture.h"
#include "kernels/common.cuh"
#include "kernels/mma.cuh"
#include "kernels/stream_products.h"

namespace indexcache::kernels {
namespace {

constexpr int kRows = 8;  // of a thread
constexpr int kRowTeams = 2;
constexpr int kColumnTeams = 2;
constexpr int kTeamThreads = 128;
constexpr int kTeamWarps = kTeamThreads / kWarp;
constexpr int kThreads = kRowTeams * kColumnTeams * kTeamThreads;
constexpr int kBlockRows = kRowTeams * kRows;
constexpr int kChunk = 2 * kTeamThreads;  // of the depth
constexpr int kStages = 4;
constexpr int kParts = kChunk / 4;              // copies of a row
constexpr int kRowsAtOnce = kThreads / kParts;  // that the block copies
constexpr int kSquares = kRows / kColumnTeams;  // rows whose squares a thread adds up

template <int Columns>
constexpr int kStageFloats = (kBlockRows + Columns) * kChunk;
template <int Columns>
constexpr int kBytes = kStages* kStageFloats<Columns>* static_cast<int>(sizeof(float));

// What a thread copies: the same part of every kRowsAtOnce-th row of x, then of the mixer.
template <int Columns>
class Copier {
 public:
  __device__ Copier(const StreamProductsParams& p, std::int64_t first_row)
      : p_(p),
        x_(p.x + (first_row + row()) * p.stride + at()),
        mixer_(row() * p.depth + at()),
        rows_(static_cast<int>(min(p.rows - first_row, std::int64_t{kBlockRows}))) {}

  // Begins the copy of a chunk. What is not there is zero.
  __device__ __forceinline__ void copy(int chunk, float* stage) const {
    const int depth = chunk * kChunk;
    const bool inside = depth + at() < p_.depth;
    const std::uint32_t to = shared_address(stage + 4 * static_cast<int>(threadIdx.x));
    constexpr std::uint32_t kStep = 4 * kThreads * sizeof(float);
#pragma unroll
    for (int i = 0; i < kBlockRows / kRowsAtOnce; ++i) {
      const bool present = inside && row() + i * kRowsAtOnce < rows_;
      copy_async(to + i * kStep, present ? x_ + i * kRowsAtOnce * p_.stride + depth : p_.x,
                 present);
    }
#pragma unroll
    for (int i = 0; i < Columns / kRowsAtOnce; ++i) {
      const bool present = inside && row() + i * kRowsAtOnce < p_.columns;
      copy_async(to + (kBlockRows / kRowsAtOnce + i) * kStep,
                 p_.mixer + (present ? mixer_ + i * kRowsAtOnce * p_.depth + depth : 0), present);
    }
  }

 private:
  __device__ static int row() {
    return static_cast<int>(threadIdx.x) / kParts;
  }
  __device__ static int at() {
    return static_cast<int>(threadIdx.x) % kParts * 4;
  }

  const StreamProductsParams& p_;
  const float* x_;
  int mixer_;  // offset of the first part
  int rows_;   // of the block, that there are
};

struct Team {
  int number = static_cast<int>(threadIdx.x) / kTeamThreads;
  int of_rows = number / kColumnTeams, of_columns = number % kColumnTeams;
};

// What a thread adds up.
template <int Columns>
struct Sums {
  static constexpr int kOwn = Columns / kColumnTeams;

  float products[kRows * kOwn] = {};
  float squares[kSquares] = {};

  __device__ __forceinline__ void add(const float* stage) {
    const Team team;
    const float* own = stage + 2 * (static_cast<int>(threadIdx.x) % kTeamThreads);
    const float* mixer = own + (kBlockRows + team.of_columns * kOwn) * kChunk;
    float2 x[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      x[r] = *reinterpret_cast<const float2*>(own + (team.of_rows * kRows + r) * kChunk);
    }
#pragma unroll
    for (int r = 0; r < kSquares; ++r) {
      const float2 mine = team.of_columns == 0 ? x[r] : x[r + kSquares];
      squares[r] = fmaf(mine.x, mine.x, squares[r]);
      squares[r] = fmaf(mine.y, mine.y, squares[r]);
    }
#pragma unroll
    for (int c = 0; c < kOwn; ++c) {
      const float2 w = *reinterpret_cast<const float2*>(mixer + c * kChunk);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        float& sum = products[r * kOwn + c];
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
  constexpr int kOwn = Sums<Columns>::kOwn;
  constexpr int kAll = kRows * kOwn + kSquares;  // of a team: its products, then its squares
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  float* const of_warp = shared + warp * kAll;
  constexpr int kOfLane = kRows * kOwn / kWarp;
  const int first = add_lanes<kRows * kOwn>(sums.products);
  for (int i = 0; i < kOfLane; ++i) of_warp[first + i] = sums.products[i];
  for (int r = 0; r < kSquares; ++r) {
    const float squares = warp_sum(sums.squares[r]);
    if (lane == 0) of_warp[kRows * kOwn + r] = squares;
  }
  __syncthreads();
  const Team team;
  for (int at = static_cast<int>(threadIdx.x) % kTeamThreads; at < kAll; at += kTeamThreads) {
    float sum = 0;
    for (int w = 0; w < kTeamWarps; ++w) sum += shared[(team.number * kTeamWarps + w) * kAll + at];
    const int square = at - kRows * kOwn;
    const int of_team = square < 0 ? at / kOwn : team.of_columns * kSquares + square;
    const std::int64_t row = first_row + team.of_rows * kRows + of_team;
    if (row >= p.rows) continue;
    const int column = team.of_columns * kOwn + at % kOwn;
    if (square >= 0) {
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
  const Copier<Columns> copier(p, first_row);
  const auto stage = [&](int chunk) { return ring + chunk % kStages * kStageFloats<Columns>; };
  for (int chunk = 0; chunk < kStages - 1; ++chunk) {
    if (chunk < chunks) copier.copy(chunk, stage(chunk));
    copy_async_commit();
  }
  Sums<Columns> sums;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    copy_async_wait<kStages - 2>();
    __syncthreads();  // everybody's copies of this chunk are there, and the one before is read
    const int next = chunk + kStages - 1;
    if (next < chunks) copier.copy(next, stage(next));
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
