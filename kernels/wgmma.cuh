// SPDX-License-Identifier: Apache-2.0
// Warpgroup tensor-core instructions of Hopper (PTX ISA, wgmma; only sm_90a). A warpgroup is four
// consecutive warps; accumulator register 4 i + j of a thread holds row 16 * warp + lane / 4 (+ 8
// for j >= 2) and column 8 i + 2 * (lane % 4) + j % 2. Where there is an `add`, false means that
// the product overwrites d.
#pragma once

#include "kernels/common.cuh"

namespace indexcache::kernels {

// Descriptor of an operand in shared memory with 128-byte swizzle: 16-byte chunk j of a 128-byte
// row r is at chunk j ^ (r % 8); the tile starts at a multiple of 1,024 bytes. `stride_bytes`
// leads to the next 8 rows; `leading_bytes` to the next 64 columns of a transposed operand.
__device__ inline std::uint64_t swizzled_operand(std::uint32_t address, std::uint32_t leading_bytes,
                                                 std::uint32_t stride_bytes) {
  return static_cast<std::uint64_t>((address & 0x3ffffu) >> 4) |
         static_cast<std::uint64_t>(leading_bytes >> 4) << 16 |
         static_cast<std::uint64_t>(stride_bytes >> 4) << 32 | std::uint64_t{1} << 62;
}

// The same operand `bytes` further on. This costs one instruction; another descriptor from an
// address costs five, and a warp that issues small products has no time for them.
__device__ __forceinline__ std::uint64_t moved(std::uint64_t operand, int bytes) {
  const auto low = static_cast<std::uint32_t>(operand) + static_cast<std::uint32_t>(bytes / 16);
  return operand >> 32 << 32 | low;
}

// The same operand, whose eights of rows are `bytes` further apart.
__device__ __forceinline__ std::uint64_t stretched(std::uint64_t operand, int bytes) {
  return operand + (static_cast<std::uint64_t>(bytes / 16) << 32);
}

// Byte offset of a 16-byte chunk in a tile of 128-byte rows.
__device__ inline std::uint32_t swizzled_chunk(int row, int chunk) {
  return static_cast<std::uint32_t>(row * 128 + ((chunk ^ (row & 7)) << 4));
}

// Makes ordinary and cp.async writes to shared memory visible to wgmma; before the barrier.
__device__ inline void fence_shared_for_wgmma() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ inline void wgmma_begin() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// Ends a batch of products.
__device__ inline void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Waits until at most `Pending` batches are under way.
template <int Pending>
__device__ inline void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

// Keeps the compiler from moving uses of an accumulator across this point: it does not know that
// a product goes on after its instruction.
template <int Count>
__device__ inline void hold(float (&d)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// Waits for all batches; d is the result of one and is not read earlier.
template <int Count>
__device__ inline void wgmma_wait(float (&d)[Count]) {
  wgmma_wait<0>();
  hold(d);
}

// Two accumulators as bf16, the first in the low half.
__device__ inline std::uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const std::uint32_t&>(pair);
}

// An 8 x 8 matrix of 16-bit elements that a warp holds, two of row lane / 4 per lane, transposed.
__device__ inline std::uint32_t transpose_matrix(std::uint32_t pair) {
  std::uint32_t out;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(pair));
  return out;
}

// Lane i of a quad gets the i-th word of its four lanes.
__device__ inline void transpose_quad(std::uint32_t (&w)[4]) {
  const bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const std::uint32_t got = __shfl_xor_sync(kAllLanes, odd ? w[i] : w[i + 1], 1);
    (odd ? w[i] : w[i + 1]) = got;
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const std::uint32_t got = __shfl_xor_sync(kAllLanes, high ? w[i] : w[i + 2], 2);
    (high ? w[i] : w[i + 2]) = got;
  }
}

}  // namespace indexcache::kernels
