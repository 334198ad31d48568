// SPDX-License-Identifier: Apache-2.0
// bf16 and e4m3 scores with the warpgroup tensor cores of Hopper, for the shapes of released
// models: width 128 and 16, 32 or 64 heads.
//
// A block of two warpgroups keeps 128 columns (the heads of 128 / heads queries) in shared memory
// and walks over tiles of 128 keys, 64 a warpgroup, that cp.async brings several tiles ahead. Keys
// are the M side, so a thread holds whole columns: ReLU, weight and sum over heads happen in its
// registers, two shuffles add the four lanes of a row. Two blocks per multiprocessor let the sums
// of one hide under the products of the other. Blocks of late queries, the long ones, start first.
#include "kernels/architecture.h"
#include "kernels/indexer_logits.h"
#include "kernels/mma.cuh"
#include "kernels/wgmma.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kWidth = 128;
constexpr int kColumns = 128;  // queries times heads of a block
constexpr int kKeys = 128;     // of a tile
constexpr int kThreads = 256;

template <typename T>
struct Tiling {
  static constexpr int kBlocks = kWidth * static_cast<int>(sizeof(T)) / 128;  // 128-byte columns
  static constexpr int kTileBytes = 128 * kWidth * static_cast<int>(sizeof(T));
  static constexpr int kStages = sizeof(T) == 1 ? 4 : 2;
  static constexpr int kBytes = (1 + kStages) * kTileBytes + 1024;  // and alignment
};

// Brings rows [0, valid) of a [128, width] tile; the others become zero.
template <typename T>
__device__ void load_tile(std::uint32_t to, const T* source, int valid) {
  constexpr int kChunks = kWidth * static_cast<int>(sizeof(T)) / 16;
  for (int i = static_cast<int>(threadIdx.x); i < 128 * kChunks; i += kThreads) {
    const int row = i / kChunks, chunk = i % kChunks;
    const bool present = row < valid;
    const char* from = reinterpret_cast<const char*>(source) +
                       (present ? row : 0) * kWidth * static_cast<std::int64_t>(sizeof(T));
    copy_async(
        to + static_cast<std::uint32_t>(chunk / 8 * 128 * 128) + swizzled_chunk(row, chunk % 8),
        from + chunk * 16, present);
  }
}

__device__ void multiply(float (&d)[64], std::uint64_t a, std::uint64_t b, __nv_fp8_e4m3) {
  wgmma_e4m3(d, a, b);
}
__device__ void multiply(float (&d)[64], std::uint64_t a, std::uint64_t b, bf16) {
  wgmma_bf16(d, a, b);
}

// d[64 keys, 128 columns] = keys x columns^T.
template <typename T>
__device__ void products(float (&d)[64], std::uint32_t keys, std::uint32_t columns) {
  for (float& x : d) x = 0;
  wgmma_begin();
#pragma unroll
  for (int block = 0; block < Tiling<T>::kBlocks; ++block) {
#pragma unroll
    for (int step = 0; step < 4; ++step) {  // 32 bytes along the width each
      const auto offset = static_cast<std::uint32_t>(block * 128 * 128 + step * 32);
      multiply(d, swizzled_operand(keys + offset, 16, 1024),
               swizzled_operand(columns + offset, 16, 1024), T{});
    }
  }
  wgmma_finish();
}

// ReLU, weights and the sum over heads for the two keys of a thread, `key` and `key` + 8.
template <int Heads>
__device__ void store_scores(const IndexerLogitsParams& p, const KeySegment& segment,
                             int first_query, int key_count, int key, const float (&d)[64],
                             const float (&weights)[2 * kColumns / 8]) {
  constexpr int kQueries = kColumns / Heads;
  const int quad = static_cast<int>(threadIdx.x) % 4;
  const float* scales = p.key_scales == nullptr ? nullptr : p.key_scales + segment.key_base;
  const float low_scale = scales != nullptr && key < key_count ? scales[key] : 1.0f;
  const float high_scale = scales != nullptr && key + 8 < key_count ? scales[key + 8] : 1.0f;
  const int low_seeing = segment.first_seeing(key), high_seeing = segment.first_seeing(key + 8);
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    float low = 0, high = 0;
#pragma unroll
    for (int j = 0; j < Heads / 8; ++j) {
      const int i = q * Heads / 8 + j;
      low = fmaf(weights[2 * i], fmaxf(d[4 * i], 0.0f), low);
      low = fmaf(weights[2 * i + 1], fmaxf(d[4 * i + 1], 0.0f), low);
      high = fmaf(weights[2 * i], fmaxf(d[4 * i + 2], 0.0f), high);
      high = fmaf(weights[2 * i + 1], fmaxf(d[4 * i + 3], 0.0f), high);
    }
    for (int offset = 1; offset < 4; offset *= 2) {
      low += __shfl_xor_sync(kAllLanes, low, offset);
      high += __shfl_xor_sync(kAllLanes, high, offset);
    }
    if (q % 4 != quad || first_query + q >= segment.rows) continue;
    float* out = p.logits + (std::int64_t{segment.first_row} + first_query + q) * p.logits_stride;
    if (first_query + q >= low_seeing) out[key] = low * low_scale;
    if (first_query + q >= high_seeing) out[key + 8] = high * high_scale;
  }
}

template <typename T, int Heads>
__global__ void __launch_bounds__(kThreads, 2) logits_sm90_kernel(IndexerLogitsParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  constexpr int kQueries = kColumns / Heads;
  extern __shared__ char memory[];
  const KeySegment segment = p.segments[blockIdx.y];
  const int first_query = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kQueries;
  const int queries = min(kQueries, segment.rows - first_query);
  if (queries <= 0) return;
  const std::uint32_t columns = (shared_address(memory) + 1023u) & ~1023u;
  const std::uint32_t stages = columns + Tiling<T>::kTileBytes;
  const std::int64_t row = segment.first_row + first_query;
  const T* keys = static_cast<const T*>(p.keys) + std::int64_t{segment.key_base} * kWidth;
  const int key_count = segment.candidates(first_query + queries - 1);
  const int tiles = (key_count + kKeys - 1) / kKeys;

  load_tile(columns, static_cast<const T*>(p.queries) + row * Heads * kWidth, queries * Heads);
  for (int tile = 0; tile < Tiling<T>::kStages - 1; ++tile) {
    load_tile(stages + static_cast<std::uint32_t>(tile * Tiling<T>::kTileBytes),
              keys + std::int64_t{tile} * kKeys * kWidth, key_count - tile * kKeys);
    copy_async_commit();
  }
  const int lane = static_cast<int>(threadIdx.x) % kWarp, quad = lane % 4;
  float weights[2 * kColumns / 8];  // of this thread's columns
#pragma unroll
  for (int i = 0; i < kColumns / 8; ++i) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int column = 8 * i + 2 * quad + j;
      weights[2 * i + j] = column < queries * Heads ? p.head_weights[row * Heads + column] : 0.0f;
    }
  }
  const int warp_key = static_cast<int>(threadIdx.x) / kWarp * 16 + lane / 4;
  for (int tile = 0; tile < tiles; ++tile) {
    copy_async_wait<Tiling<T>::kStages - 2>();
    fence_shared_for_wgmma();
    __syncthreads();  // this tile has come, and nobody reads the stage that is filled next
    const int ahead = tile + Tiling<T>::kStages - 1;
    if (ahead < tiles) {
      load_tile(
          stages + static_cast<std::uint32_t>(ahead % Tiling<T>::kStages * Tiling<T>::kTileBytes),
          keys + std::int64_t{ahead} * kKeys * kWidth, key_count - ahead * kKeys);
    }
    copy_async_commit();
    float d[64];
    const auto half = static_cast<std::uint32_t>(threadIdx.x / 128 * 64 * 128);
    products<T>(d,
                stages +
                    static_cast<std::uint32_t>(tile % Tiling<T>::kStages * Tiling<T>::kTileBytes) +
                    half,
                columns);
    store_scores<Heads>(p, segment, first_query, key_count, tile * kKeys + warp_key, d, weights);
  }
  copy_async_wait<0>();
#endif
}

template <typename T, int Heads>
cudaError_t launch(const IndexerLogitsParams& p, cudaStream_t stream) {
  const auto kernel = logits_sm90_kernel<T, Heads>;
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tiling<T>::kBytes);
  if (status != cudaSuccess) return status;
  const dim3 grid(static_cast<unsigned>(ceil_div(p.most_rows, kColumns / Heads)),
                  static_cast<unsigned>(p.segment_count));
  kernel<<<grid, kThreads, Tiling<T>::kBytes, stream>>>(p);
  return cudaGetLastError();
}

template <typename T>
cudaError_t launch(const IndexerLogitsParams& p, cudaStream_t stream) {
  switch (p.heads) {
    case 16:
      return launch<T, 16>(p, stream);
    case 32:
      return launch<T, 32>(p, stream);
    case 64:
      return launch<T, 64>(p, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace

bool indexer_logits_sm90_applies(const IndexerLogitsParams& params) {
  if (params.width != kWidth || params.type == Type::f32) return false;
  if (params.heads != 16 && params.heads != 32 && params.heads != 64) return false;
  return has_warpgroups();
}

cudaError_t indexer_logits_sm90(const IndexerLogitsParams& params, cudaStream_t stream) {
  if (!indexer_logits_sm90_applies(params)) return cudaErrorInvalidValue;
  if (params.type == Type::bf16) return launch<bf16>(params, stream);
  return launch<__nv_fp8_e4m3>(params, stream);
}

}  // namespace indexcache::kernels
