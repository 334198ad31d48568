// SPDX-License-Identifier: Apache-2.0
// All candidates in bf16 with warp-level tensor cores; exponentials and sums in float32. Eight
// warps multiply tiles of 32 x 32 each; the M side of a warp stays in registers, up to 128
// dimensions at a time, and the N side comes through two stages of shared memory. The first pass
// has the queries of a head on the M side and walks over keys; the second has keys there and walks
// over heads.
//
// Bounds at 4 heads of 128, 8 x 512 queries, 2,048 keys (7.4 million pairs): a pass is 7.5 GFLOP,
// 8 us at the peak of the tensor cores and about 13 us of mma.sync; its 29 million exponentials are
// 8 us of the special function units; the tiles are 67 MB (first pass) and 86 MB (second, and 59 MB
// of sums) from L2, 12 to 20 us. Passes are bound by L2 and tensor cores at about the same time.
#include "kernels/exponential.cuh"
#include "kernels/mean_attention.h"
#include "kernels/mma.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kMoving = 64;    // rows of a stage: keys, then queries
constexpr int kStaying = 128;  // rows of the M side
constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kSteps = 8;  // of 16 dimensions in registers
constexpr int kDepth = 16 * kSteps;
constexpr int kPad = 8;  // bf16 elements: rows start 16 bytes apart in the banks
constexpr int kStagePitch = kDepth + kPad;
constexpr float kLowest = -1e30f;  // finite, so that the difference of two of them is a number

// Shared memory: the M side, two stages of the N side, then floats.
struct Buffers {
  bf16* staying;  // [kStaying, pitch]
  bf16* moving;   // [2, kMoving, kStagePitch]
  float* floats;  // [4 * kMoving]
  int pitch;
};

// Whole kDepths, filled up with zeros: no branch stands between the instructions of a product.
__host__ __device__ int pitch_of(int width) {
  return (width + kDepth - 1) / kDepth * kDepth + kPad;
}

std::size_t shared_bytes(int width) {
  return static_cast<std::size_t>(kStaying * pitch_of(width) + 2 * kMoving * kStagePitch) *
             sizeof(bf16) +
         4 * kMoving * sizeof(float);
}

__device__ Buffers buffers_in(char* memory, int width) {
  Buffers shared{};
  shared.pitch = pitch_of(width);
  shared.staying = reinterpret_cast<bf16*>(memory);
  shared.moving = shared.staying + kStaying * shared.pitch;
  shared.floats = reinterpret_cast<float*>(shared.moving + 2 * kMoving * kStagePitch);
  return shared;
}

// Queues the copy of kDepth columns of rows; rows from `count` and columns from `width` on are
// zero.
template <int Rows>
__device__ void queue_rows(bf16* tile, int pitch, const bf16* source, std::int64_t stride,
                           int count, int width) {
  constexpr int kChunks = kDepth / 8;
  static_assert(Rows * kChunks % kThreads == 0);
#pragma unroll
  for (int j = 0; j < Rows * kChunks / kThreads; ++j) {
    const int i = j * kThreads + static_cast<int>(threadIdx.x);
    const int row = i / kChunks, d = i % kChunks * 8;
    const bool present = row < count && d < width;
    copy_async(shared_address(tile + row * pitch + d), present ? source + row * stride + d : source,
               present);
  }
}

__device__ void queue_staying(const Buffers& shared, const bf16* source, std::int64_t stride,
                              int count, int width) {
  for (int d = 0; d < width; d += kDepth) {
    queue_rows<kStaying>(shared.staying + d, shared.pitch, source + d, stride, count, width - d);
  }
}

__device__ void queue_moving(const Buffers& shared, int step, const bf16* source,
                             std::int64_t stride, int count, int width) {
  queue_rows<kMoving>(shared.moving + step % 2 * kMoving * kStagePitch, kStagePitch, source, stride,
                      count, width);
}

// Left operands of 32 rows, dimensions from `first` on.
using Fragments = std::uint32_t[2][kSteps][4];

__device__ void load_fragments(Fragments& a, const Buffers& shared, int row, int first) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const bf16* rows = shared.staying + (row + lane % 16) * shared.pitch + lane / 16 * 8 + first;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const std::uint32_t address = shared_address(rows + 16 * m * shared.pitch);
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      load_matrices(a[m][s], address + static_cast<std::uint32_t>(32 * s));
    }
  }
}

// products += a x 32 rows of a stage, from `first` on.
__device__ void multiply(float (&products)[2][4][4], const Fragments& a, const Buffers& shared,
                         int step, int first) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const bf16* stage = shared.moving + (step % 2 * kMoving + first) * kStagePitch;
  const std::uint32_t rows =
      shared_address(stage + (lane % 8 + lane / 16 * 8) * kStagePitch + lane / 8 % 2 * 8);
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      std::uint32_t b[4];
      load_matrices(b, rows + static_cast<std::uint32_t>(32 * s + 2 * half * 16 * kStagePitch));
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        mma(products[m][2 * half], a[m][s], b[0], b[1], bf16{});
        mma(products[m][2 * half + 1], a[m][s], b[2], b[3], bf16{});
      }
    }
  }
}

__device__ void clear(float (&products)[2][4][4]) {
#pragma unroll
  for (int i = 0; i < 32; ++i) products[i / 16][i / 4 % 4][i % 4] = 0;
}

// A running sum of powers of two, relative to the highest exponent so far.
struct PowerSum {
  float peak = kLowest;
  float sum = 0;
};

__device__ PowerSum joined(const PowerSum& a, const PowerSum& b) {
  const float top = fmaxf(a.peak, b.peak);
  return {top, a.sum * exponential(a.peak - top) + b.sum * exponential(b.peak - top)};
}

// Adds the 8 keys that this thread has of query 16 m + 8 r + lane / 4, those below `end`.
__device__ void add_keys(PowerSum& total, const float (&products)[4][4], int r, float scale,
                         int key, int end) {
  float exponents[8];
  float top = total.peak;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float exponent = scale * products[i / 2][2 * r + i % 2];
    exponents[i] = key + i / 2 * 8 + i % 2 < end ? exponent : -INFINITY;
    top = fmaxf(top, exponents[i]);
  }
  float sum = total.sum * exponential(total.peak - top);
#pragma unroll
  for (int i = 0; i < 8; ++i) sum += exponential(exponents[i] - top);
  total = {top, sum};
}

// Joins the sums of the lanes and warps that share a query; writes the logarithms.
__device__ void write_normalizers(const MeanAttentionParams& p, const Buffers& shared,
                                  PowerSum (&sums)[4], std::int64_t row, int head, int queries) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  for (int i = 0; i < 4; ++i) {
    for (int lanes = 1; lanes < 4; lanes *= 2) {
      const PowerSum other{__shfl_xor_sync(kAllLanes, sums[i].peak, lanes),
                           __shfl_xor_sync(kAllLanes, sums[i].sum, lanes)};
      sums[i] = joined(sums[i], other);
    }
  }
  auto* of_second = reinterpret_cast<PowerSum*>(shared.floats);  // [kStaying]
  const int first = warp / 2 * 32 + lane / 4;
  if (warp % 2 == 1 && lane % 4 == 0) {
    for (int i = 0; i < 4; ++i) of_second[first + 8 * i] = sums[i];
  }
  __syncthreads();
  if (warp % 2 == 1 || lane % 4 != 0) return;
  for (int i = 0; i < 4; ++i) {
    const int query = first + 8 * i;
    if (query >= queries) continue;
    const PowerSum total = joined(sums[i], of_second[query]);
    p.scratch[(row + query) * p.heads + head] = total.peak + log2f(total.sum);
  }
}

// Block (tile of queries, head, segment).
__global__ void __launch_bounds__(kThreads) normalizers_kernel(MeanAttentionParams p) {
  extern __shared__ __align__(16) char memory[];
  const KeySegment segment = p.segments[blockIdx.z];
  const int first_query = static_cast<int>(blockIdx.x) * kStaying;
  const int head = static_cast<int>(blockIdx.y);
  const int queries = min(kStaying, segment.rows - first_query);
  if (queries <= 0) return;
  const Buffers shared = buffers_in(memory, p.width);
  const std::int64_t row = segment.first_row + first_query;
  const bf16* keys =
      static_cast<const bf16*>(p.keys) + std::int64_t{segment.key_base} * p.key_stride;
  const int key_count = segment.candidates(first_query + queries - 1);
  if (key_count <= 0) return;
  const int cuts = (p.width + kDepth - 1) / kDepth;
  const int steps = (key_count + kMoving - 1) / kMoving * cuts;
  const auto queue = [&](int step) {
    if (step < steps) {
      const int key = step / cuts * kMoving, d = step % cuts * kDepth;
      queue_moving(shared, step, keys + key * p.key_stride + d, p.key_stride, key_count - key,
                   p.width - d);
    }
    copy_async_commit();
  };
  queue_staying(
      shared,
      static_cast<const bf16*>(p.queries) + row * p.query_stride + head * p.query_head_stride,
      p.query_stride, queries, p.width);
  queue(0);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int of_keys = warp % 2 * 32;
  int candidates[4];
  for (int i = 0; i < 4; ++i) {
    candidates[i] = segment.candidates(first_query + warp / 2 * 32 + lane / 4 + 8 * i);
  }
  const float scale = p.scale * kLog2E;
  Fragments a;
  float products[2][4][4];
  PowerSum sums[4];
  for (int step = 0; step < steps; ++step) {
    copy_async_wait<0>();
    __syncthreads();  // this step has come, and nobody reads the stage that is filled next
    queue(step + 1);
    const int cut = step % cuts;
    if (cuts > 1 || step == 0) load_fragments(a, shared, warp / 2 * 32, cut * kDepth);
    if (cut == 0) clear(products);
    multiply(products, a, shared, step, of_keys);
    if (cut == cuts - 1) {
      const int key = step / cuts * kMoving + of_keys + lane % 4 * 2;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        add_keys(sums[i], products[i / 2], i % 2, scale, key, candidates[i]);
      }
    }
  }
  write_normalizers(p, shared, sums, row, head, queries);
}

// total += powers of two of the products, less the normalizers of this thread's queries.
__device__ void add_head(float (&total)[2][4][4], const float (&products)[2][4][4], float scale,
                         const float* normalizers) {
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const float2 less = *reinterpret_cast<const float2*>(normalizers + 8 * n);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        total[m][n][i] +=
            exponential(fmaf(scale, products[m][n][i], i % 2 == 0 ? -less.x : -less.y));
      }
    }
  }
}

// Adds what this thread has of 32 keys by 32 queries to the sums; `query` and `key` are its first.
__device__ void write_means(const MeanAttentionParams& p, const KeySegment& segment,
                            const float (&total)[2][4][4], int query, int key) {
  const float factor = p.weight / static_cast<float>(p.heads);
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    const int m = i / 4 % 2, n = i / 8, column = i % 2, r = i / 2 % 2;
    const int q = query + 8 * n + column, k = key + 16 * m + 8 * r;
    if (q >= segment.rows || q < segment.first_seeing(k)) continue;
    float* out = p.sums + (std::int64_t{segment.first_row} + q) * p.sums_stride + k;
    *out = fmaf(factor, total[m][n][2 * r + column], *out);
  }
}

// Block (tile of keys, tile of queries, segment).
__global__ void __launch_bounds__(kThreads) mean_kernel(MeanAttentionParams p) {
  extern __shared__ __align__(16) char memory[];
  const KeySegment segment = p.segments[blockIdx.z];
  const int first_query = static_cast<int>(blockIdx.y) * kMoving;
  const int first_key = static_cast<int>(blockIdx.x) * kStaying;
  const int queries = min(kMoving, segment.rows - first_query);
  const int keys = segment.candidates(first_query + queries - 1) - first_key;  // of the last query
  if (queries <= 0 || keys <= 0) return;
  const Buffers shared = buffers_in(memory, p.width);
  const std::int64_t row = segment.first_row + first_query;
  const bf16* q = static_cast<const bf16*>(p.queries) + row * p.query_stride;
  const int cuts = (p.width + kDepth - 1) / kDepth, steps = p.heads * cuts;
  const auto queue = [&](int step) {
    if (step < steps) {
      const int head = step / cuts, d = step % cuts * kDepth;
      queue_moving(shared, step, q + head * p.query_head_stride + d, p.query_stride, queries,
                   p.width - d);
      if (threadIdx.x < kMoving) {
        const int i = static_cast<int>(threadIdx.x);
        copy_async_word(shared_address(shared.floats + step % 2 * kMoving + i),
                        p.scratch + (row + (i < queries ? i : 0)) * p.heads + head, i < queries);
      }
    }
    copy_async_commit();
  };
  queue_staying(shared,
                static_cast<const bf16*>(p.keys) +
                    (std::int64_t{segment.key_base} + first_key) * p.key_stride,
                p.key_stride, keys, p.width);
  queue(0);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int of_queries = warp % 2 * 32, of_keys = warp / 2 * 32;
  const float scale = p.scale * kLog2E;
  Fragments a;
  float products[2][4][4], total[2][4][4];
  clear(total);
  for (int step = 0; step < steps; ++step) {
    copy_async_wait<0>();
    __syncthreads();  // this step has come, and nobody reads the stage that is filled next
    queue(step + 1);
    const int cut = step % cuts;
    if (cuts > 1 || step == 0) load_fragments(a, shared, of_keys, cut * kDepth);
    if (cut == 0) clear(products);
    multiply(products, a, shared, step, of_queries);
    if (cut == cuts - 1) {
      add_head(total, products, scale,
               shared.floats + step % 2 * kMoving + of_queries + lane % 4 * 2);
    }
  }
  write_means(p, segment, total, first_query + of_queries + lane % 4 * 2,
              first_key + of_keys + lane / 4);
}

}  // namespace

bool mean_attention_mma_applies(const MeanAttentionParams& p) {
  return p.type == Type::bf16 && p.width % 16 == 0 &&
         p.width <= kMostMeanAttentionTensorCoreWidth &&
         aligned(p.queries, p.query_stride | p.query_head_stride) && aligned(p.keys, p.key_stride);
}

cudaError_t mean_attention_mma(const MeanAttentionParams& p, cudaStream_t stream) {
  if (!mean_attention_mma_applies(p)) return cudaErrorInvalidValue;
  const std::size_t bytes = shared_bytes(p.width);
  cudaError_t status = cudaFuncSetAttribute(
      normalizers_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (status != cudaSuccess) return status;
  const auto segments = static_cast<unsigned>(p.segment_count);
  const dim3 heads(static_cast<unsigned>(ceil_div(p.most_rows, kStaying)),
                   static_cast<unsigned>(p.heads), segments);
  normalizers_kernel<<<heads, kThreads, bytes, stream>>>(p);
  status = cudaGetLastError();
  if (status != cudaSuccess) return status;
  status = cudaFuncSetAttribute(mean_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                static_cast<int>(bytes));
  if (status != cudaSuccess) return status;
  const dim3 tiles(static_cast<unsigned>(ceil_div(p.most_keys, kStaying)),
                   static_cast<unsigned>(ceil_div(p.most_rows, kMoving)), segments);
  mean_kernel<<<tiles, kThreads, bytes, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
