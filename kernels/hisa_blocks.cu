// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/hisa_blocks.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

// A score in bf16 as an integer that orders as it does; -0 equals +0.
__device__ std::uint32_t rank_of(float score) {
  const std::uint32_t bits = __float_as_uint(to_float(from_float<bf16>(score)) + 0.0f);
  const std::uint32_t negative = static_cast<std::uint32_t>(static_cast<std::int32_t>(bits) >> 31);
  return (bits ^ (negative | 0x80000000u)) >> 16;
}

// The blocks of a row that are not forced, which all lanes of a warp read together.
struct Ranked {
  const float* scores;
  int first, end;

  template <typename F>
  __device__ void each(const F& f) const {
    for (int b = first + static_cast<int>(threadIdx.x) % kWarp; b < end; b += kWarp) {
      f(rank_of(scores[b]));
    }
  }

  __device__ int at_least(std::uint32_t rank) const {
    int count = 0;
    each([&](std::uint32_t other) { count += other >= rank ? 1 : 0; });
    return __reduce_add_sync(kAllLanes, count);
  }

  // The rank of the block at place `wanted`, one bit at a time below those that all share. Above
  // every rank for none.
  __device__ std::uint32_t threshold(int wanted) const {
    if (wanted == 0) return 0x10000u;
    std::uint32_t least = ~0u, most = 0;
    each([&](std::uint32_t rank) { least = min(least, rank), most = max(most, rank); });
    least = __reduce_min_sync(kAllLanes, least);
    most = __reduce_max_sync(kAllLanes, most);
    const int differing = 32 - __clz(static_cast<int>(least ^ most));
    std::uint32_t threshold = most >> differing << differing;
    for (int bit = differing - 1; bit >= 0; --bit) {
      const std::uint32_t higher = threshold | 1u << bit;
      if (at_least(higher) >= wanted) threshold = higher;
    }
    return threshold;
  }
};

// A warp has one row.
__global__ void __launch_bounds__(kThreads) choose_kernel(ChooseBlocksParams p) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (row >= p.rows) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const RowPlace place = p.places[row];
  const int all = (place.candidates + p.block - 1) / p.block;
  const Ranked ranked{p.scores + row * p.stride, 1, all - 1};
  const int wanted = p.blocks - 2;
  const std::uint32_t threshold = ranked.threshold(wanted);
  int equals_left = wanted - ranked.at_least(threshold + 1);
  std::int32_t* out = p.chosen + row * p.blocks;
  int before = 0;
  for (int word = 0; word < p.words; ++word) {
    const int b = word * kWarp + lane;
    const bool inside = b >= ranked.first && b < ranked.end;
    const std::uint32_t rank = inside ? rank_of(ranked.scores[b]) : 0;
    const unsigned lower = (1u << lane) - 1;
    const unsigned equals = __ballot_sync(kAllLanes, inside && rank == threshold);
    const bool tied = (equals >> lane & 1) != 0 && __popc(equals & lower) < equals_left;
    equals_left -= min(equals_left, __popc(equals));
    const bool takes = b == 0 || b == all - 1 || (inside && rank > threshold) || tied;
    const unsigned marks = __ballot_sync(kAllLanes, takes);
    if (takes) out[before + __popc(marks & lower)] = b;
    if (lane == 0) {
      p.marks[word * p.rows + row] = marks;
      p.earlier[word * p.rows + row] = before;
    }
    before += __popc(marks);
  }
  const int last = place.candidates - (all - 1) * p.block;  // keys of the last block
  if (lane == 0) p.of_logits[row] = {place.position, (p.blocks - 1) * p.block + last, 0};
}

// A block of threads has one block of keys.
__global__ void __launch_bounds__(kThreads) count_kernel(GroupBlocksParams p) {
  const int block = static_cast<int>(blockIdx.x);
  const std::uint32_t* marks = p.marks + block / kWarp * p.rows;
  int count = 0;
  for (std::int64_t first = 0; first < p.rows; first += kThreads) {
    const std::int64_t row = first + threadIdx.x;
    count += __syncthreads_count(row < p.rows && (marks[row] >> (block % kWarp) & 1) != 0);
  }
  if (threadIdx.x == 0) p.counts[block] = count;
}

// The sum over the threads, in each of them.
__device__ int total_of(int value) {
  __shared__ int of_warps[kWarps];
  value = __reduce_add_sync(kAllLanes, value);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  int total = 0;
  for (const int other : of_warps) total += other;
  return total;
}

__device__ int groups_of(const GroupBlocksParams& p, int block) {
  return (p.counts[block] + p.group - 1) / p.group;
}

__global__ void __launch_bounds__(kThreads) pair_kernel(GroupBlocksParams p) {
  __shared__ int of_warps[kWarps];
  const int block = static_cast<int>(blockIdx.x);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  int earlier_groups = 0;
  for (int b = static_cast<int>(threadIdx.x); b < block; b += kThreads) {
    earlier_groups += groups_of(p, b);
  }
  earlier_groups = total_of(earlier_groups);
  const int own_groups = groups_of(p, block);
  if (block == p.all_blocks - 1 && threadIdx.x == 0) *p.groups = earlier_groups + own_groups;
  CandidatePair* pairs = p.pairs + std::int64_t{earlier_groups} * p.group;
  const std::uint32_t* marks = p.marks + block / kWarp * p.rows;
  const std::int32_t* earlier = p.earlier + block / kWarp * p.rows;
  const int first_key = p.places[0].key_base + block * p.block;
  int next = 0;
  for (std::int64_t first = 0; first < p.rows; first += kThreads) {
    const std::int64_t row = first + threadIdx.x;
    const std::uint32_t word = row < p.rows ? marks[row] : 0;
    const bool here = (word >> (block % kWarp) & 1) != 0;
    const unsigned takers = __ballot_sync(kAllLanes, here);
    __syncthreads();  // the last round's counts have been read
    if (lane == 0) of_warps[warp] = __popc(takers);
    __syncthreads();
    int at = next + __popc(takers & ((1u << lane) - 1));
    for (int w = 0; w < kWarps; ++w) {
      at += w < warp ? of_warps[w] : 0;
      next += of_warps[w];
    }
    if (!here) continue;
    const int slot = earlier[row] + __popc(word & ((1u << (block % kWarp)) - 1));
    const int keys = min(p.block, p.places[row].candidates - block * p.block);
    pairs[at] = {static_cast<int>(row), slot * p.block, first_key, keys};
  }
  for (int i = next + static_cast<int>(threadIdx.x); i < own_groups * p.group; i += kThreads) {
    pairs[i] = {0, 0, first_key, 0};
  }
}

__global__ void __launch_bounds__(kThreads) place_kernel(PlaceInBlocksParams p) {
  const std::int64_t row = blockIdx.x;
  const std::int32_t* chosen = p.chosen + row * p.blocks;
  std::int32_t* set = p.sets + row * p.sets_stride;
  for (int i = static_cast<int>(threadIdx.x); i < p.k; i += kThreads) {
    const int slot = set[i] / p.block;
    set[i] += (chosen[slot] - slot) * p.block;
  }
}

}  // namespace

cudaError_t choose_blocks(const ChooseBlocksParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  if (params.block <= 0 || params.blocks < 2) return cudaErrorInvalidValue;
  choose_kernel<<<static_cast<unsigned>(ceil_div(params.rows, kWarps)), kThreads, 0, stream>>>(
      params);
  return cudaGetLastError();
}

cudaError_t group_blocks(const GroupBlocksParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  if (params.all_blocks <= 0 || params.group <= 0) return cudaErrorInvalidValue;
  const auto blocks = static_cast<unsigned>(params.all_blocks);
  count_kernel<<<blocks, kThreads, 0, stream>>>(params);
  pair_kernel<<<blocks, kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

cudaError_t place_in_blocks(const PlaceInBlocksParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  place_kernel<<<static_cast<unsigned>(params.rows), kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
