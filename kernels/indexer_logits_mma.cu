// SPDX-License-Identifier: Apache-2.0
// bf16 and e4m3 scores with warp-level tensor cores. A block keeps the heads of a few queries in
// shared memory and walks over tiles of 64 keys; keys are the M side (16 a warp), columns are the
// heads of one query after the other, padded to 8. A column's weighted ReLU is added in registers
// and the four lanes of a row at the end of each query. e4m3 is widened to bf16 on the way in.
#include "kernels/indexer_logits.h"
#include "kernels/mma.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kKeys = 64;
constexpr int kThreads = 128;
constexpr int kPad = 8;  // bf16 elements: rows start 16 bytes apart in the banks

// A tile of rows as bf16; rows without a source are zero.
template <typename T>
__device__ void load_rows(bf16* tile, int pitch, const T* source, std::int64_t stride, int rows,
                          int valid, int width) {
  for (int i = threadIdx.x; i < rows * width; i += kThreads) {
    const int row = i / width, d = i % width;
    tile[row * pitch + d] =
        row < valid ? from_float<bf16>(to_float(source[row * stride + d])) : from_float<bf16>(0.0f);
  }
}

struct Tiling {
  int padded_heads;  // heads rounded up to 8
  int queries;       // of a block
  int pitch;         // elements of a row in shared memory
};

__host__ __device__ Tiling tiling_of(const IndexerLogitsParams& p) {
  const int padded = (p.heads + 7) / 8 * 8;
  return {padded, padded >= 64 ? 1 : 64 / padded, p.width + kPad};
}

// Adds the four lanes that share a row and writes the scores of one query and two keys.
__device__ void store_scores(const IndexerLogitsParams& p, const KeySegment& segment, int query,
                             int key, float low, float high) {
  for (int offset = 1; offset < 4; offset *= 2) {
    low += __shfl_xor_sync(kAllLanes, low, offset);
    high += __shfl_xor_sync(kAllLanes, high, offset);
  }
  const int position = segment.first_position + query;
  if (threadIdx.x % 4 != 0 || query >= segment.rows) return;
  float* out = p.logits + (std::int64_t{segment.first_row} + query) * p.logits_stride;
  const float* scales = p.key_scales == nullptr ? nullptr : p.key_scales + segment.key_base;
  if (key <= position) out[key] = scales == nullptr ? low : low * scales[key];
  if (key + 8 <= position) out[key + 8] = scales == nullptr ? high : high * scales[key + 8];
}

template <typename T>
__global__ void __launch_bounds__(kThreads) logits_mma_kernel(IndexerLogitsParams p) {
  extern __shared__ __align__(16) char memory[];
  const Tiling tiling = tiling_of(p);
  const KeySegment segment = p.segments[blockIdx.z];
  const int first_query = static_cast<int>(blockIdx.y) * tiling.queries;
  const int queries = min(tiling.queries, segment.rows - first_query);
  if (queries <= 0) return;
  const int keys = segment.first_position + first_query + queries;
  bf16* q_tile = reinterpret_cast<bf16*>(memory);
  bf16* k_tile = q_tile + tiling.queries * tiling.padded_heads * tiling.pitch;
  float* weights = reinterpret_cast<float*>(k_tile + kKeys * tiling.pitch);
  const std::int64_t row = segment.first_row + first_query;
  for (int q = 0; q < tiling.queries; ++q) {
    load_rows(q_tile + q * tiling.padded_heads * tiling.pitch, tiling.pitch,
              static_cast<const T*>(p.queries) + (row + q) * p.heads * p.width, p.width,
              tiling.padded_heads, q < queries ? p.heads : 0, p.width);
    for (int h = threadIdx.x; h < tiling.padded_heads; h += kThreads) {
      weights[q * tiling.padded_heads + h] =
          q < queries && h < p.heads ? p.head_weights[(row + q) * p.heads + h] : 0.0f;
    }
  }
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int tiles = static_cast<int>(ceil_div(keys, kKeys));
  for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += static_cast<int>(gridDim.x)) {
    const int first_key = tile * kKeys;
    __syncthreads();
    load_rows(
        k_tile, tiling.pitch,
        static_cast<const T*>(p.keys) + (std::int64_t{segment.key_base} + first_key) * p.width,
        p.width, kKeys, keys - first_key, p.width);
    __syncthreads();
    const std::uint32_t a_address =
        shared_address(k_tile + (warp * 16 + lane % 16) * tiling.pitch + lane / 16 * 8);
    for (int q = 0; q < queries; ++q) {
      float low = 0, high = 0;
      for (int h = 0; h < tiling.padded_heads; h += 8) {
        const bf16* b = q_tile + (q * tiling.padded_heads + h + lane / 4) * tiling.pitch;
        float d[4] = {};
        for (int k = 0; k < p.width; k += 16) {
          std::uint32_t a[4];
          load_matrices(a, a_address + static_cast<std::uint32_t>(k * sizeof(bf16)));
          const auto* pair = reinterpret_cast<const std::uint32_t*>(b + k) + lane % 4;
          mma_bf16(d, a, pair[0], pair[4]);
        }
        const float* w = weights + q * tiling.padded_heads + h + 2 * (lane % 4);
        low = fmaf(w[1], fmaxf(d[1], 0.0f), fmaf(w[0], fmaxf(d[0], 0.0f), low));
        high = fmaf(w[1], fmaxf(d[3], 0.0f), fmaf(w[0], fmaxf(d[2], 0.0f), high));
      }
      store_scores(p, segment, first_query + q, first_key + warp * 16 + lane / 4, low, high);
    }
  }
}

template <typename T>
cudaError_t launch(const IndexerLogitsParams& p, cudaStream_t stream) {
  const Tiling tiling = tiling_of(p);
  const std::size_t columns = static_cast<std::size_t>(tiling.queries * tiling.padded_heads);
  const std::size_t bytes =
      (columns + kKeys) * static_cast<std::size_t>(tiling.pitch) * sizeof(bf16) +
      columns * sizeof(float);
  const auto kernel = logits_mma_kernel<T>;
  const cudaError_t status = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (status != cudaSuccess) return status;
  // Blocks of one query share its keys: a few of them keep the machine busy on short segments.
  const dim3 grid(static_cast<unsigned>(min(ceil_div(p.most_keys, 4 * kKeys), std::int64_t{16})),
                  static_cast<unsigned>(ceil_div(p.most_rows, tiling.queries)),
                  static_cast<unsigned>(p.segment_count));
  kernel<<<grid, kThreads, bytes, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t indexer_logits_mma(const IndexerLogitsParams& params, cudaStream_t stream) {
  if (params.width % 16 != 0 || params.heads <= 0) return cudaErrorInvalidValue;
  if (params.type == Type::bf16) return launch<bf16>(params, stream);
  if (params.type == Type::e4m3) return launch<__nv_fp8_e4m3>(params, stream);
  return cudaErrorInvalidValue;
}

}  // namespace indexcache::kernels
