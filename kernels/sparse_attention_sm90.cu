// SPDX-License-Identifier: Apache-2.0
// Absorbed MLA over gathered rows with the warpgroup tensor cores of Hopper, for the shape of every
// released model: keys of 512 + 64 columns whose first 512 are the values, bf16.
//
// A block owns one query and 64 of its heads (the M side; missing heads are zero rows). It walks
// over the selected rows 64 at a time; cp.async gathers the next tile, 72 KiB, while this one is
// multiplied, and the same tile serves as keys (rows along k) and as values (rows across k). Both
// warpgroups compute all 64 scores and keep half of the 512 value columns each: half more products,
// but no exchange of probabilities. Shared memory: 72 KiB of queries and two tiles.
#include "kernels/architecture.h"
#include "kernels/mma.cuh"
#include "kernels/sparse_attention.h"
#include "kernels/wgmma.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kKeyWidth = 576;
constexpr int kValueWidth = 512;
constexpr int kTile = 64;  // heads, and keys at a time
constexpr int kBlocks = kKeyWidth / 64;
constexpr int kBlockBytes = kTile * 128;  // 64 rows of 64 columns
constexpr int kTileBytes = kBlocks * kBlockBytes;
constexpr int kThreads = 256;
constexpr int kSharedBytes = 3 * kTileBytes + 1024;  // and alignment
constexpr float kLog2E = 1.4426950408889634f;

// Four threads per row, 18 chunks of 16 bytes each.
__device__ void load_row(std::uint32_t tile, const bf16* source, bool present) {
  const int row = static_cast<int>(threadIdx.x) / 4;
#pragma unroll
  for (int i = 0; i < kKeyWidth / 8 / 4; ++i) {
    const int chunk = static_cast<int>(threadIdx.x) % 4 + 4 * i;
    copy_async(
        tile + static_cast<std::uint32_t>(chunk / 8 * kBlockBytes) + swizzled_chunk(row, chunk % 8),
        source + chunk * 8, present);
  }
}

// The selected candidates of one query.
struct Selection {
  const std::int32_t* set;  // null: every candidate
  int count;
  const bf16* keys;  // of candidate 0
  std::int64_t stride;

  __device__ void load_tile(std::uint32_t tile, int first) const {
    const int i = first + static_cast<int>(threadIdx.x) / 4;
    const bool present = i < count;
    const int candidate = !present ? 0 : set == nullptr ? i : set[i];
    load_row(tile, keys + candidate * stride, present);
  }
};

__device__ std::uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const std::uint32_t&>(pair);
}

// Running maximum and sum of the two heads (rows) that a thread has a part of.
struct Softmax {
  float peak[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};

  // Turns 64 scores per head into exponentials; returns by how much earlier sums shrink.
  __device__ void update(float (&s)[32], int valid, float factor, float (&shrink)[2]) {
    const int quad = static_cast<int>(threadIdx.x) % 4;
    float top[2] = {peak[0], peak[1]};
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      const bool present = i / 4 * 8 + 2 * quad + i % 2 < valid;
      s[i] = present ? s[i] * factor : -INFINITY;
      top[i / 2 % 2] = fmaxf(top[i / 2 % 2], s[i]);
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      for (int offset = 1; offset < 4; offset *= 2) {
        top[r] = fmaxf(top[r], __shfl_xor_sync(kAllLanes, top[r], offset));
      }
      shrink[r] = exp2f(peak[r] - top[r]);
      sum[r] *= shrink[r];
      peak[r] = top[r];
    }
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      s[i] = exp2f(s[i] - peak[i / 2 % 2]);
      sum[i / 2 % 2] += s[i];
    }
  }

  // Adds the four lanes of a row.
  __device__ float total(int r) const {
    float x = sum[r];
    for (int offset = 1; offset < 4; offset *= 2) x += __shfl_xor_sync(kAllLanes, x, offset);
    return x;
  }
};

__device__ void score_tile(float (&s)[32], std::uint32_t queries, std::uint32_t keys) {
  for (float& x : s) x = 0;
  wgmma_begin();
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      const auto offset = static_cast<std::uint32_t>(block * kBlockBytes + step * 32);
      wgmma_bf16(s, swizzled_operand(queries + offset, 16, 1024),
                 swizzled_operand(keys + offset, 16, 1024));
    }
  }
  wgmma_finish();
}

// out[64 heads, 256 columns] += p[64, 64 keys] values.
__device__ void add_values(float (&out)[128], const float (&p)[32], std::uint32_t values) {
  std::uint32_t a[4][4];
#pragma unroll
  for (int step = 0; step < 4; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) a[step][i] = pack(p[8 * step + 2 * i], p[8 * step + 2 * i + 1]);
  }
  wgmma_begin();
#pragma unroll
  for (int step = 0; step < 4; ++step) {  // 16 keys each
    wgmma_bf16_transposed(
        out, a[step],
        swizzled_operand(values + static_cast<std::uint32_t>(step * 16 * 128), kBlockBytes, 1024));
  }
  wgmma_finish();
}

__device__ void store_heads(const SparseAttentionParams& p, std::int64_t row, int first_head,
                            const float (&out)[128], const Softmax& softmax) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp % 4;
  const int first_column = static_cast<int>(threadIdx.x) / 128 * 256 + 2 * (lane % 4);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float factor = 1.0f / softmax.total(r);
    const int head = first_head + warp * 16 + lane / 4 + 8 * r;
    if (head >= p.heads) continue;
    bf16* to = static_cast<bf16*>(p.out) + row * p.out_stride + head * p.out_head_stride;
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      *reinterpret_cast<std::uint32_t*>(to + first_column + 8 * i) =
          pack(out[4 * i + 2 * r] * factor, out[4 * i + 2 * r + 1] * factor);
    }
  }
}

__global__ void __launch_bounds__(kThreads, 1) attention_sm90_kernel(SparseAttentionParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ char memory[];
  const std::int64_t row = blockIdx.x;
  const int first_head = static_cast<int>(blockIdx.y) * kTile;
  const RowPlace place = p.places[row];
  const Selection selection{p.sets == nullptr ? nullptr : p.sets + row * p.sets_stride,
                            p.sets == nullptr ? place.candidates : p.k,
                            static_cast<const bf16*>(p.keys) + place.key_base * p.key_stride,
                            p.key_stride};
  const std::uint32_t queries = (shared_address(memory) + 1023u) & ~1023u;
  const auto tile_at = [&](std::uint32_t stage) { return queries + (1 + stage) * kTileBytes; };

  const int own_head = first_head + static_cast<int>(threadIdx.x) / 4;
  const bool present = own_head < p.heads;
  load_row(queries,
           static_cast<const bf16*>(p.queries) + row * p.query_stride +
               (present ? own_head : 0) * p.query_head_stride,
           present);
  selection.load_tile(tile_at(0), 0);
  copy_async_commit();

  Softmax softmax;
  float out[128];
  for (float& x : out) x = 0;
  const std::uint32_t half = threadIdx.x / 128 * 4 * kBlockBytes;  // 256 of the value columns
  std::uint32_t stage = 0;
  for (int first = 0; first < selection.count; first += kTile, stage ^= 1) {
    copy_async_wait<0>();
    fence_shared_for_wgmma();
    __syncthreads();  // this tile has come, and nobody reads the other one
    if (first + kTile < selection.count) selection.load_tile(tile_at(stage ^ 1), first + kTile);
    copy_async_commit();
    float s[32], shrink[2];
    score_tile(s, queries, tile_at(stage));
    softmax.update(s, selection.count - first, p.scale * kLog2E, shrink);
#pragma unroll
    for (int i = 0; i < 128; ++i) out[i] *= shrink[i / 2 % 2];
    add_values(out, s, tile_at(stage) + half);
  }
  store_heads(p, row, first_head, out, softmax);
#endif
}

bool aligned(const void* pointer, std::int64_t stride) {
  return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0 && stride % 8 == 0;
}

}  // namespace

bool sparse_attention_sm90_applies(const SparseAttentionParams& p) {
  return p.type == Type::bf16 && p.key_width == kKeyWidth && p.value_width == kValueWidth &&
         aligned(p.queries, p.query_stride | p.query_head_stride) &&
         aligned(p.keys, p.key_stride) && aligned(p.out, p.out_stride | p.out_head_stride) &&
         has_warpgroups();
}

cudaError_t sparse_attention_sm90(const SparseAttentionParams& params, cudaStream_t stream) {
  if (!sparse_attention_sm90_applies(params)) return cudaErrorInvalidValue;
  const cudaError_t status = cudaFuncSetAttribute(
      attention_sm90_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  if (status != cudaSuccess) return status;
  const dim3 grid(static_cast<unsigned>(params.rows),
                  static_cast<unsigned>(ceil_div(params.heads, kTile)));
  attention_sm90_kernel<<<grid, kThreads, kSharedBytes, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
