// SPDX-License-Identifier: Apache-2.0
#include "kernels/packed_sets.h"
#include "kernels/scan.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kWindow = 1 << 16;  // positions that have a bit at a time

__host__ __device__ constexpr int packs_per_grain(int queries) {
  return (kPackGrain + queries - 1) / queries;
}

// Consecutive rows that may become a pack.
struct Rows {
  int first;
  int count;  // 0: none
  int key_base;
};

__device__ Rows rows_of_block(const PackSetsParams& p, const PackedSets& packed) {
  const KeySegment segment = p.segments[blockIdx.y];
  const int per_grain = packs_per_grain(packed.queries);
  const int in_grain = static_cast<int>(blockIdx.x) % per_grain * packed.queries;
  const int at = static_cast<int>(blockIdx.x) / per_grain * kPackGrain + in_grain;
  const int count = min(packed.queries, min(kPackGrain - in_grain, segment.rows - at));
  return {segment.first_row + at, max(count, 0), segment.key_base};
}

// Which positions [first, first + 32 * words) are in the set of each query.
struct Bits {
  unsigned* bits;  // [queries, words]
  int words;
  int first;

  __device__ unsigned of(int query, int word) const { return bits[query * words + word]; }
  __device__ unsigned united(int queries, int word) const {
    unsigned all = 0;
    for (int q = 0; q < queries; ++q) all |= of(q, word);
    return all;
  }
};

__device__ void mark(const PackSetsParams& p, const Rows& rows, const Bits& window) {
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < rows.count * window.words; i += kThreads) {
    window.bits[i] = 0;
  }
  __syncthreads();
  for (int q = 0; q < rows.count; ++q) {
    const std::int32_t* set = p.sets + (rows.first + q) * p.sets_stride;
    for (int i = static_cast<int>(threadIdx.x); i < p.k; i += kThreads) {
      const int place = set[i] - window.first;
      if (place < 0 || place >= 32 * window.words) continue;
      atomicOr(&window.bits[q * window.words + place / 32], 1u << (place % 32));
    }
  }
  __syncthreads();
}

// `totals` is of the block, [warps].
__device__ int count_keys(const Rows& rows, const Bits& window, unsigned* totals) {
  unsigned count = 0, all = 0;
  for (int w = static_cast<int>(threadIdx.x); w < window.words; w += kThreads) {
    count += static_cast<unsigned>(__popc(window.united(rows.count, w)));
  }
  block_scan<kThreads>(count, totals, all);
  return static_cast<int>(all);
}

// Writes the keys of a window from `at` on; returns where those of the next one begin.
__device__ std::int64_t write_keys(const PackedSets& packed, const Rows& rows, const Bits& window,
                                   unsigned* totals, std::int64_t at) {
  for (int first = 0; first < window.words; first += kThreads) {
    const int word = first + static_cast<int>(threadIdx.x);
    unsigned united = word < window.words ? window.united(rows.count, word) : 0, all = 0;
    const auto count = static_cast<unsigned>(__popc(united));
    std::int64_t to = at + block_scan<kThreads>(count, totals, all);
    for (; united != 0; united &= united - 1, ++to) {
      const int bit = __ffs(static_cast<int>(united)) - 1;
      unsigned members = 0;
      for (int q = 0; q < rows.count; ++q) members |= (window.of(q, word) >> bit & 1u) << q;
      packed.keys[to] = window.first + 32 * word + bit;
      packed.members[to] = static_cast<std::uint8_t>(members);
    }
    at += all;
    __syncthreads();  // everybody has read the totals
  }
  return at;
}

// A pack of so many keys; the same for all threads. Keys begin at multiples of four, so that four
// members are a word: those after the last key belong to no query.
__device__ std::int64_t begin_pack(const PackedSets& packed, const Rows& rows, int keys) {
  __shared__ std::int64_t begin;
  if (threadIdx.x == 0) {
    const std::int64_t room = ceil_div(keys, 4) * 4;
    begin = static_cast<std::int64_t>(
        atomicAdd(&packed.counts->keys, static_cast<unsigned long long>(room)));
    for (std::int64_t i = keys; i < room; ++i) packed.members[begin + i] = 0;
    packed.packs[atomicAdd(&packed.counts->packs, 1)] = {begin, keys, rows.first, rows.count,
                                                         rows.key_base};
  }
  __syncthreads();
  return begin;
}

__device__ void leave_rows(const PackedSets& packed, const Rows& rows) {
  if (threadIdx.x != 0) return;
  const int at = atomicAdd(&packed.counts->rest, rows.count);
  for (int i = 0; i < rows.count; ++i) packed.rest[at + i] = rows.first + i;
}

// Block (rows of a segment, segment).
__global__ void __launch_bounds__(kThreads)
    pack_sets_kernel(PackSetsParams p, PackedSets packed, int words) {
  extern __shared__ unsigned memory[];
  __shared__ unsigned totals[kThreads / kWarp];
  const Rows rows = rows_of_block(p, packed);
  if (rows.count == 0) return;
  Bits window{memory, words, 0};
  int keys = 0;
  for (; window.first < p.positions; window.first += 32 * words) {
    mark(p, rows, window);
    keys += count_keys(rows, window, totals);
  }
  if (keys > packed.keys_per_query * rows.count) {
    leave_rows(packed, rows);
    return;
  }
  std::int64_t at = begin_pack(packed, rows, keys);
  const bool marked = p.positions <= 32 * words;
  for (window.first = 0; window.first < p.positions; window.first += 32 * words) {
    if (!marked) mark(p, rows, window);
    at = write_keys(packed, rows, window, totals, at);
  }
}

}  // namespace

cudaError_t pack_sets(const PackSetsParams& params, const PackedSets& packed, cudaStream_t stream) {
  if (packed.queries < 1 || packed.queries > kMostPackQueries || params.segment_count > 65535) {
    return cudaErrorInvalidValue;
  }
  const cudaError_t status = cudaMemsetAsync(packed.counts, 0, sizeof(PackCounts), stream);
  if (status != cudaSuccess || params.segment_count == 0) return status;
  const int words =
      static_cast<int>(ceil_div(params.positions < kWindow ? params.positions : kWindow, 32));
  const std::size_t bytes = static_cast<std::size_t>(packed.queries * words) * sizeof(unsigned);
  const cudaError_t sized = cudaFuncSetAttribute(
      pack_sets_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (sized != cudaSuccess) return sized;
  const dim3 grid(static_cast<unsigned>(ceil_div(params.most_rows, kPackGrain) *
                                        packs_per_grain(packed.queries)),
                  static_cast<unsigned>(params.segment_count));
  pack_sets_kernel<<<grid, kThreads, bytes, stream>>>(params, packed, words);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
