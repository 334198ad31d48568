// SPDX-License-Identifier: Apache-2.0
// A block is one warpgroup with the heads of one query, which walks over some consecutive pages of
// its sequence. A page is a tile of 64 keys, the M side of a product, and comes through a ring of
// asynchronous copies. Columns beyond the heads are zero: tensor cores have time to spare. The
// columns of a thread are heads 2 q and 2 q + 1 of each eight, q = lane % 4, in ascending order:
// the chain q of indexer_logits_sm90.cuh. Two shuffles add chains 0 + 1 and 2 + 3, then both.
#include "kernels/decode_logits.h"
#include "kernels/logits_sm90_launch.cuh"

namespace indexcache::kernels {
namespace {

using logits_sm90::kHalf;
using logits_sm90::kKeys;
using logits_sm90::kSpan;
using logits_sm90::kSpanChunks;
using logits_sm90::kWidth;

static_assert(kKeys == kPagePositions);

constexpr int kThreads = 128;

template <typename T, int Heads>
struct Shape {
  static constexpr bool kScaled = sizeof(T) == 1;
  static constexpr int kRowBytes = kWidth * static_cast<int>(sizeof(T));
  static constexpr int kSpans = kRowBytes / kSpan;
  static constexpr int kChunks = kSpanChunks * kSpans;
  static constexpr int kStages = sizeof(T) == 1 ? 4 : 3;
  static constexpr int kStageBytes = kKeys * kRowBytes;
  static constexpr int kQueryBytes = kHalf * kRowBytes;
  static constexpr int kBytes = kQueryBytes + kStages * kStageBytes + 1024;  // and alignment
  static constexpr int kBlocks = 224 * 1024 / kBytes;                        // of a multiprocessor
  static constexpr int kEights = Heads / 8;
};

// Copies `Rows` rows without gaps to a swizzled operand; those from `present` on become zero.
template <class S, int Rows>
__device__ void copy_rows(std::uint32_t to, const char* from, int present) {
#pragma unroll 8
  for (int i = static_cast<int>(threadIdx.x); i < Rows * S::kChunks; i += kThreads) {
    const int row = i / S::kChunks, chunk = i % S::kChunks;
    const bool valid = row < present;
    copy_async(to + static_cast<std::uint32_t>(chunk / kSpanChunks * Rows * kSpan) +
                   swizzled_chunk(row, chunk % kSpanChunks),
               from + (valid ? std::int64_t{i} * 16 : 0), valid);
  }
}

// The pages of a block.
template <class S>
struct Walk {
  const DecodeLogitsParams& p;
  const std::int32_t* table;
  std::uint32_t stages;
  int first, last;

  __device__ const char* page(int i) const {
    return static_cast<const char*>(p.pages.data) + table[i] * p.pages.page_bytes();
  }
  __device__ std::uint32_t stage(int i) const {
    return stages + static_cast<std::uint32_t>((i - first) % S::kStages * S::kStageBytes);
  }
  // A group of copies, which is empty beyond the last page.
  __device__ void load(int i) const {
    if (i < last) copy_rows<S, kKeys>(stage(i), page(i), kKeys);
    copy_async_commit();
  }
};

// The sum over heads of accumulators of one key; all lanes of a quad get it.
template <class S>
__device__ float sum_heads(const float (&weights)[2 * S::kEights], const float (&d)[64],
                           int key_half) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < S::kEights; ++i) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      sum = fmaf(weights[2 * i + j], logits_sm90::relu(d[4 * i + 2 * key_half + j]), sum);
    }
  }
  sum += __shfl_xor_sync(kAllLanes, sum, 1);
  return sum + __shfl_xor_sync(kAllLanes, sum, 2);
}

template <typename T, int Heads>
__global__ void __launch_bounds__(kThreads)
    decode_logits_kernel(const __grid_constant__ DecodeLogitsParams p, int pages_per_block) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using S = Shape<T, Heads>;
  extern __shared__ char dynamic[];
  const int row = static_cast<int>(blockIdx.y), lane = static_cast<int>(threadIdx.x) % kWarp;
  const int quad = lane % 4, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int keys = p.places[row].candidates;
  const std::uint32_t columns = (shared_address(dynamic) + 1023u) & ~1023u;
  Walk<S> walk{p, p.pages.tables + row * p.pages.tables_stride, columns + S::kQueryBytes,
               static_cast<int>(blockIdx.x) * pages_per_block, 0};
  walk.last = min(walk.first + pages_per_block, (keys + kKeys - 1) / kKeys);
  if (walk.first >= walk.last) return;
  copy_rows<S, kHalf>(
      columns, static_cast<const char*>(p.queries) + std::int64_t{row} * Heads * S::kRowBytes,
      Heads);
  for (int i = 0; i < S::kStages - 1; ++i) walk.load(walk.first + i);
  float weights[2 * S::kEights];
#pragma unroll
  for (int i = 0; i < 2 * S::kEights; ++i) {
    weights[i] = p.head_weights[row * Heads + i / 2 * 8 + 2 * quad + i % 2];
  }
  const int own = warp * 16 + lane / 4;  // the low key of a page, with another one 8 later
  float* const out = p.logits + row * p.logits_stride;
  float d[64];
  for (int i = walk.first; i < walk.last; ++i) {
    copy_async_wait<S::kStages - 2>();
    fence_shared_for_wgmma();
    __syncthreads();  // the page is here, and everybody is through with the one before it
    walk.load(i + S::kStages - 1);
    float scales[2] = {1, 1};
    if constexpr (S::kScaled) {
      const float* const of_page =
          reinterpret_cast<const float*>(walk.page(i) + S::kStageBytes) + own;
      scales[0] = of_page[0];
      scales[1] = of_page[8];
    }
    logits_sm90::begin_product<S>(d, logits_sm90::operand_at(walk.stage(i)),
                                  logits_sm90::operand_at(columns));
    wgmma_wait(d);
    const float low = sum_heads<S>(weights, d, 0), high = sum_heads<S>(weights, d, 1);
    const int key = i * kKeys + own;
    if (quad == 0 && key < keys) out[key] = low * scales[0];
    if (quad == 1 && key + 8 < keys) out[key + 8] = high * scales[1];
  }
#endif
}

// One wave of blocks, so that each has as many pages as possible; no bit depends on their number.
template <typename T, int Heads>
cudaError_t launch(const DecodeLogitsParams& p, cudaStream_t stream) {
  using S = Shape<T, Heads>;
  const auto kernel = decode_logits_kernel<T, Heads>;
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kBytes);
  if (status != cudaSuccess) return status;
  const std::int64_t pages = ceil_div(p.most_keys, kPagePositions);
  const std::int64_t blocks = std::int64_t{multiprocessors()} * S::kBlocks;
  const std::int64_t per_block = ceil_div(pages * p.rows, blocks);
  const dim3 grid(static_cast<unsigned>(ceil_div(pages, per_block)), static_cast<unsigned>(p.rows));
  kernel<<<grid, kThreads, S::kBytes, stream>>>(p, static_cast<int>(per_block));
  return cudaGetLastError();
}

template <typename T>
cudaError_t launch(const DecodeLogitsParams& p, cudaStream_t stream) {
  if (p.heads == 16) return launch<T, 16>(p, stream);
  if (p.heads == 32) return launch<T, 32>(p, stream);
  return launch<T, 64>(p, stream);
}

}  // namespace

bool decode_logits_sm90_applies(const DecodeLogitsParams& p) {
  const PageKind kind = p.type == Type::e4m3 ? PageKind::index_fp8 : PageKind::rows;
  return p.pages.kind == kind && logits_sm90::takes(p.type, p.heads, p.width);
}

cudaError_t decode_logits_sm90(const DecodeLogitsParams& params, cudaStream_t stream) {
  if (!decode_logits_sm90_applies(params)) return cudaErrorInvalidValue;
  if (params.rows == 0 || params.most_keys == 0) return cudaSuccess;
  if (params.type == Type::bf16) return launch<bf16>(params, stream);
  return launch<__nv_fp8_e4m3>(params, stream);
}

}  // namespace indexcache::kernels
