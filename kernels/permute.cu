// SPDX-License-Identifier: Apache-2.0
#include "kernels/eight.cuh"
#include "kernels/permute.h"
#include "kernels/route.h"

namespace indexcache::kernels {
namespace {

static_assert(kMostExpertsUsed <= kWarp);  // a lane per choice

constexpr int kCountThreads = 128;
constexpr int kScanGroups = 32;  // of runs, a thread each

// How often the rows of a run name each expert. One block per run.
__global__ void __launch_bounds__(kCountThreads) count_kernel(PermuteParams p) {
  __shared__ int own[kMostExperts];
  const std::int64_t run = blockIdx.x, first = run * kPermuteRun;
  const int threads = kCountThreads, thread = static_cast<int>(threadIdx.x);
  for (int e = thread; e < p.experts; e += threads) own[e] = 0;
  __syncthreads();
  const std::int64_t rows = first + kPermuteRun < p.rows ? kPermuteRun : p.rows - first;
  for (int i = thread; i < rows * p.used; i += threads) {
    atomicAdd(&own[p.chosen[first * p.used + i]], 1);
  }
  __syncthreads();
  for (int e = thread; e < p.experts; e += threads) {
    p.run_slots[run * p.experts + e] = own[e];
    if (own[e] != 0) atomicAdd(&p.counts[e], own[e]);
  }
}

// Replaces the counts of runs by their first slots. One block per kWarp experts: x are experts, and
// y groups of consecutive runs.
__global__ void __launch_bounds__(kWarp* kScanGroups) scan_kernel(PermuteParams p) {
  __shared__ int totals[kScanGroups][kWarp];
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int expert = static_cast<int>(blockIdx.x) * kWarp + x;
  const bool present = expert < p.experts;
  const int runs = static_cast<int>(ceil_div(p.rows, kPermuteRun));
  const int each = (runs + kScanGroups - 1) / kScanGroups;
  const int first = y * each, last = min(runs, first + each);
  int own = 0;
  for (int run = first; present && run < last; ++run) own += p.run_slots[run * p.experts + expert];
  totals[y][x] = own;
  __syncthreads();
  if (!present) return;
  int slot = 0;
  for (int e = 0; e < expert; ++e) slot += p.counts[e];
  for (int group = 0; group < y; ++group) slot += totals[group][x];
  for (int run = first; run < last; ++run) {
    std::int32_t& place = p.run_slots[run * p.experts + expert];
    const int count = place;
    place = slot;
    slot += count;
  }
}

// One warp per run, row after row; a row names an expert at most once. Choices are read before, all
// at once, so that no row waits for its own.
__global__ void __launch_bounds__(kWarp) place_kernel(PermuteParams p) {
  __shared__ int next[kMostExperts];
  __shared__ int chosen[kPermuteRun * kMostExpertsUsed];
  const std::int64_t run = blockIdx.x, first = run * kPermuteRun;
  const int lane = static_cast<int>(threadIdx.x);
  const int rows = static_cast<int>(min(kPermuteRun, p.rows - first));
  for (int i = lane; i < rows * p.used; i += kWarp) chosen[i] = p.chosen[first * p.used + i];
  for (int e = lane; e < p.experts; e += kWarp) next[e] = p.run_slots[run * p.experts + e];
  __syncwarp();
  for (int row = 0; row < rows; ++row) {
    const int at = row * p.used + lane;
    if (lane < p.used) p.slot_of[first * p.used + at] = next[chosen[at]]++;
    __syncwarp();
  }
}

template <typename Piece>
__device__ void scatter_row(const ScatteredRows& rows, std::int64_t row, const std::int32_t* slots,
                            int used) {
  constexpr auto kBytes = static_cast<std::int64_t>(sizeof(Piece));
  const auto* const from =
      reinterpret_cast<const Piece*>(static_cast<const char*>(rows.x) + row * rows.stride);
  const int pieces = static_cast<int>(rows.width / kBytes);
  for (int c = static_cast<int>(threadIdx.x); c < pieces; c += static_cast<int>(blockDim.x)) {
    const Piece piece = from[c];
    for (int i = 0; i < used; ++i) {
      reinterpret_cast<Piece*>(static_cast<char*>(rows.out) + slots[i] * rows.width)[c] = piece;
    }
  }
}

// A block per row, which is read once. Bit m of `whole`: rows of matrix m are whole chunks.
__global__ void scatter_kernel(ScatterParams p, unsigned whole) {
  __shared__ std::int32_t slots[kMostExpertsUsed];
  const std::int64_t row = blockIdx.x;
  if (static_cast<int>(threadIdx.x) < p.used) {
    slots[threadIdx.x] = p.slot_of[row * p.used + threadIdx.x];
  }
  __syncthreads();
#pragma unroll
  for (int m = 0; m < kMostScattered; ++m) {
    if (m >= p.matrices) break;
    if ((whole >> m & 1u) != 0) {
      scatter_row<uint4>(p.rows_of[m], row, slots, p.used);
    } else {
      scatter_row<std::uint16_t>(p.rows_of[m], row, slots, p.used);
    }
  }
}

template <typename T>
__global__ void combine_kernel(CombineParams p) {
  const std::int64_t row = blockIdx.x;
  float* out = p.out + row * p.out_stride;
  for (std::int64_t c = threadIdx.x; c < p.width; c += blockDim.x) {
    float value = out[c];
    for (int i = 0; i < p.used; ++i) {
      const std::int64_t slot = p.slot_of[row * p.used + i];
      value = fmaf(p.weights[row * p.used + i],
                   to_float(static_cast<const T*>(p.y)[slot * p.width + c]), value);
    }
    out[c] = value;
  }
}

template <typename T>
__global__ void combine_eight_kernel(CombineParams p) {
  const std::int64_t row = blockIdx.x;
  for (int c = static_cast<int>(threadIdx.x) * kEight; c < p.width;
       c += static_cast<int>(blockDim.x) * kEight) {
    float* const out = p.out + row * p.out_stride + c;
    float value[kEight];
    load_eight(value, out);
    for (int i = 0; i < p.used; ++i) {
      const std::int64_t slot = p.slot_of[row * p.used + i];
      const float weight = p.weights[row * p.used + i];
      float y[kEight];
      load_eight(y, static_cast<const T*>(p.y) + slot * p.width + c);
#pragma unroll
      for (int j = 0; j < kEight; ++j) value[j] = fmaf(weight, y[j], value[j]);
    }
    store_eight(out, value);
  }
}

}  // namespace

cudaError_t permute(const PermuteParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  if (params.experts > kMostExperts || params.used > kMostExpertsUsed) return cudaErrorInvalidValue;
  const auto count_bytes = sizeof(*params.counts) * static_cast<std::size_t>(params.experts);
  const cudaError_t status = cudaMemsetAsync(params.counts, 0, count_bytes, stream);
  if (status != cudaSuccess) return status;
  const auto runs = static_cast<unsigned>(permute_runs(params.rows));
  const auto columns = static_cast<unsigned>(ceil_div(params.experts, kWarp));
  count_kernel<<<runs, kCountThreads, 0, stream>>>(params);
  scan_kernel<<<columns, dim3(kWarp, kScanGroups), 0, stream>>>(params);
  place_kernel<<<runs, kWarp, 0, stream>>>(params);
  return cudaGetLastError();
}

cudaError_t scatter(const ScatterParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  if (params.used > kMostExpertsUsed || params.matrices > kMostScattered) {
    return cudaErrorInvalidValue;
  }
  unsigned whole = 0;
  std::int64_t most = 1;
  for (int m = 0; m < params.matrices; ++m) {
    const ScatteredRows& rows = params.rows_of[m];
    if (rows.stride % 2 != 0 || rows.width % 2 != 0) return cudaErrorInvalidValue;
    const bool chunks = whole_chunks(rows.x, rows.stride) && whole_chunks(rows.out, rows.width);
    whole |= (chunks ? 1u : 0u) << m;
    const std::int64_t pieces = rows.width / (chunks ? 16 : 2);
    if (pieces > most) most = pieces;
  }
  constexpr std::int64_t kMost = 256;
  const std::int64_t threads = ceil_div(most, kWarp) * kWarp;
  scatter_kernel<<<static_cast<unsigned>(params.rows),
                   static_cast<unsigned>(threads < kMost ? threads : kMost), 0, stream>>>(params,
                                                                                          whole);
  return cudaGetLastError();
}

cudaError_t combine(const CombineParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  const auto rows = static_cast<unsigned>(params.rows);
  return with_float_type(params.type, [&](auto type) {
    if (whole_eights(params.y, params.type, params.width, params.width) &&
        whole_eights(params.out, Type::f32, params.out_stride, params.width)) {
      combine_eight_kernel<decltype(type)><<<rows, 256, 0, stream>>>(params);
    } else {
      combine_kernel<decltype(type)><<<rows, 256, 0, stream>>>(params);
    }
    return cudaGetLastError();
  });
}

}  // namespace indexcache::kernels
