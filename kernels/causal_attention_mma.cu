// SPDX-License-Identifier: Apache-2.0
// bf16 with warp-level tensor cores, after FlashAttention-2: a block owns 128 queries of a head and
// walks over keys 64 at a time. A warp has whole rows of the product, so that scores, weights and
// results stay in its registers; weights are rounded to bf16. Keys arrive while values are
// multiplied, and values while scores are.
//
// Bounds at 192 + 128: a tile is 5.2 MFLOP and 94 KiB of shared memory, so that two blocks share a
// multiprocessor. With 32 rows per warp, a fragment of keys or values that was read from shared
// memory serves two products; with 16, reading would take longer than multiplying.
#include "kernels/causal_attention.h"
#include "kernels/exponential.cuh"
#include "kernels/mma.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kQueries = 128;  // of a block
constexpr int kKeys = 64;
constexpr int kPad = 8;  // bf16 elements: rows start 16 bytes apart in the banks

// Of a block whose warps have `rows` groups of 16 queries each.
__host__ __device__ constexpr int threads_of(int rows) {
  return kQueries / (16 * rows) * kWarp;
}

struct Buffers {
  bf16* queries;  // [kQueries, key_pitch]
  bf16* keys;     // [kKeys, key_pitch]
  bf16* values;   // [kKeys, value_pitch]
  int key_pitch, value_pitch;
};

__host__ __device__ int key_pitch(const CausalAttentionParams& p) {
  return p.nope_width + p.rope_width + kPad;
}
__host__ __device__ int value_pitch(const CausalAttentionParams& p) {
  return p.value_width + kPad;
}

std::size_t shared_bytes(const CausalAttentionParams& p) {
  return static_cast<std::size_t>((kQueries + kKeys) * key_pitch(p) + kKeys * value_pitch(p)) *
         sizeof(bf16);
}

__device__ Buffers buffers_in(char* memory, const CausalAttentionParams& p) {
  Buffers shared{};
  shared.key_pitch = key_pitch(p);
  shared.value_pitch = value_pitch(p);
  shared.queries = reinterpret_cast<bf16*>(memory);
  shared.keys = shared.queries + kQueries * shared.key_pitch;
  shared.values = shared.keys + kKeys * shared.key_pitch;
  return shared;
}

// The queries of a block, and where the keys and values of their sequence begin.
struct Tile {
  const bf16 *queries, *nope, *rope, *values;
  int count;  // queries
  int keys;   // candidates of the last query
};

__device__ inline std::uint32_t pack(float low, float high) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&both);
}

__device__ inline int lane() {
  return static_cast<int>(threadIdx.x) % kWarp;
}

// Calls body(row, chunk) for this thread's share of `rows` rows of `chunks` chunks.
template <int Threads, typename Body>
__device__ void for_chunks(int rows, int chunks, const Body& body) {
  const int rows_at_once = Threads / chunks, rest = Threads % chunks;
  int row = static_cast<int>(threadIdx.x) / chunks;
  int chunk = static_cast<int>(threadIdx.x) % chunks;
  while (row < rows) {
    body(row, chunk);
    row += rows_at_once;
    chunk += rest;
    if (chunk >= chunks) chunk -= chunks, ++row;
  }
}

// Rows from `count` on become zero.
template <int Threads>
__device__ void queue_rows(bf16* to, int pitch, const bf16* from, std::int64_t stride, int width,
                           int rows, int count) {
  for_chunks<Threads>(rows, width / 8, [&](int row, int chunk) {
    const bool present = row < count;
    copy_async(shared_address(to + row * pitch + 8 * chunk),
               from + (present ? row : 0) * stride + 8 * chunk, present);
  });
}

template <int Threads>
__device__ void queue_keys(const CausalAttentionParams& p, const Buffers& shared, const Tile& tile,
                           int first) {
  const int count = tile.keys - first;
  queue_rows<Threads>(shared.keys, shared.key_pitch, tile.nope + first * p.nope_stride,
                      p.nope_stride, p.nope_width, kKeys, count);
  queue_rows<Threads>(shared.keys + p.nope_width, shared.key_pitch,
                      tile.rope + first * p.rope_stride, p.rope_stride, p.rope_width, kKeys, count);
}

// scores[g][n]: of this warp's g-th 16 queries, from `row` on, and the n-th 8 keys.
template <int Rows>
__device__ void score(const CausalAttentionParams& p, const Buffers& shared, int row,
                      float (&scores)[Rows][kKeys / 8][4]) {
  std::uint32_t q[Rows];
  for (int g = 0; g < Rows; ++g) {
    q[g] = shared_address(shared.queries + (row + 16 * g + lane() % 16) * shared.key_pitch +
                          lane() / 16 * 8);
    for (auto& product : scores[g]) {
      for (float& value : product) value = 0;
    }
  }
  // Matrices of 8 keys: the first 8 along two eighths of a step, then the other 8.
  const std::uint32_t k = shared_address(
      shared.keys + (lane() % 8 + lane() / 16 * 8) * shared.key_pitch + lane() / 8 % 2 * 8);
  const auto bytes = static_cast<std::uint32_t>(sizeof(bf16));
  const std::uint32_t sixteen_keys = 16 * static_cast<std::uint32_t>(shared.key_pitch) * bytes;
  const auto width = static_cast<std::uint32_t>(p.nope_width + p.rope_width);
#pragma unroll 2
  for (std::uint32_t d = 0; d < width; d += 16) {
    std::uint32_t a[Rows][4];
#pragma unroll
    for (int g = 0; g < Rows; ++g) load_matrices(a[g], q[g] + d * bytes);
#pragma unroll
    for (int n = 0; n < kKeys / 16; ++n) {
      std::uint32_t b[4];
      load_matrices(b, k + static_cast<std::uint32_t>(n) * sixteen_keys + d * bytes);
#pragma unroll
      for (int g = 0; g < Rows; ++g) {
        mma(scores[g][2 * n], a[g], b[0], b[1], bf16{});
        mma(scores[g][2 * n + 1], a[g], b[2], b[3], bf16{});
      }
    }
  }
}

// Scores of 16 queries, from `query` of the segment on, and keys from `first` on: -inf where the
// key is no candidate.
__device__ void mask(const KeySegment& segment, int query, int first,
                     float (&scores)[kKeys / 8][4]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int candidates = segment.candidates(query + lane() / 4 + 8 * r);
#pragma unroll
    for (int i = 0; i < kKeys / 4; ++i) {
      const int key = first + i / 2 * 8 + 2 * (lane() % 4) + i % 2;
      if (key >= candidates) scores[i / 2][2 * r + i % 2] = -INFINITY;
    }
  }
}

// The running softmax of 16 queries of a warp: a thread has rows lane / 4 and lane / 4 + 8, and a
// quarter of the columns of each. Logits are multiplied by log2 e.
struct Softmax {
  float peak[2];
  float sum[2];  // of this thread's columns

  __device__ void begin(const float* sink) {
    for (int r = 0; r < 2; ++r) {
      peak[r] = sink == nullptr ? -INFINITY : *sink * kLog2E;
      sum[r] = sink == nullptr || lane() % 4 != 0 ? 0.0f : 1.0f;
    }
  }

  // Scores become exponentials; shrink[r] is for earlier results.
  __device__ void update(float (&scores)[kKeys / 8][4], float (&shrink)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float top = peak[r];
#pragma unroll
      for (int i = 0; i < kKeys / 4; ++i) top = fmaxf(top, scores[i / 2][2 * r + i % 2]);
      for (int lanes = 2; lanes > 0; lanes /= 2) {
        top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, lanes));
      }
      shrink[r] = exponential(peak[r] - top);
      float total = 0;
#pragma unroll
      for (int i = 0; i < kKeys / 4; ++i) {
        float& value = scores[i / 2][2 * r + i % 2];
        value = exponential(value - top);
        total += value;
      }
      sum[r] = fmaf(sum[r], shrink[r], total);
      peak[r] = top;
    }
  }

  // One over the sum of all columns.
  __device__ float factor(int r) const {
    float total = sum[r];
    for (int lanes = 2; lanes > 0; lanes /= 2) total += __shfl_xor_sync(kAllLanes, total, lanes);
    return 1.0f / total;
  }
};

// out[g][block][n]: of the g-th 16 queries and 8 columns, += weights x values.
template <int Rows, int Blocks>
__device__ void add_values(const CausalAttentionParams& p, const Buffers& shared,
                           const float (&weights)[Rows][kKeys / 8][4],
                           const float (&shrink)[Rows][2], float (&out)[Rows][Blocks][2][4]) {
  std::uint32_t a[Rows][kKeys / 16][4];
#pragma unroll
  for (int g = 0; g < Rows; ++g) {
#pragma unroll
    for (int i = 0; i < kKeys / 4; ++i) {
      const float* pair = &weights[g][i / 2][i % 2 * 2];
      a[g][i / 4][i % 4] = pack(pair[0], pair[1]);
    }
  }
  const std::uint32_t v =
      shared_address(shared.values + lane() % 16 * shared.value_pitch + lane() / 16 * 8);
  const auto bytes = static_cast<std::uint32_t>(sizeof(bf16));
  const std::uint32_t sixteen_keys = 16 * static_cast<std::uint32_t>(shared.value_pitch) * bytes;
#pragma unroll
  for (int block = 0; block < Blocks; ++block) {
    if (16 * block >= p.value_width) break;
#pragma unroll
    for (int g = 0; g < Rows; ++g) {
      for (int i = 0; i < 8; ++i) out[g][block][i / 4][i % 4] *= shrink[g][i % 4 / 2];
    }
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step) {
      std::uint32_t b[4];  // 16 keys by 8 columns, twice
      load_matrices_transposed(b, v + static_cast<std::uint32_t>(step) * sixteen_keys +
                                      static_cast<std::uint32_t>(16 * block) * bytes);
#pragma unroll
      for (int g = 0; g < Rows; ++g) {
        mma(out[g][block][0], a[g][step], b[0], b[1], bf16{});
        mma(out[g][block][1], a[g][step], b[2], b[3], bf16{});
      }
    }
  }
}

// 16 queries of a warp, from `row` of the tile on.
template <int Blocks>
__device__ void store(const CausalAttentionParams& p, const Softmax& softmax, bf16* out, int row,
                      int count, const float (&results)[Blocks][2][4]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float factor = softmax.factor(r);
    const int query = row + lane() / 4 + 8 * r;
    if (query >= count) continue;
    bf16* to = out + query * p.out_stride + 2 * (lane() % 4);
#pragma unroll
    for (int block = 0; block < Blocks; ++block) {
      if (16 * block >= p.value_width) break;
      for (int n = 0; n < 2; ++n) {
        const float* pair = results[block][n] + 2 * r;
        *reinterpret_cast<std::uint32_t*>(to + 16 * block + 8 * n) =
            pack(pair[0] * factor, pair[1] * factor);
      }
    }
  }
}

__device__ Tile tile_at(const CausalAttentionParams& p, const KeySegment& segment, int first,
                        int head) {
  const std::int64_t row = segment.first_row + first, key_row = segment.key_base;
  const int count = min(kQueries, segment.rows - first);
  return {
      static_cast<const bf16*>(p.queries) + row * p.query_stride + head * p.query_head_stride,
      static_cast<const bf16*>(p.nope) + key_row * p.nope_stride + head * p.nope_head_stride,
      static_cast<const bf16*>(p.rope) + key_row * p.rope_stride,
      static_cast<const bf16*>(p.values) + key_row * p.value_stride + head * p.value_head_stride,
      count,
      count <= 0 ? 0 : segment.candidates(first + count - 1)};
}

// Block (tile of queries, head, segment); those with most keys come first. Rows: groups of 16
// queries of a warp. Blocks: groups of 16 value columns, at most.
template <int Rows, int Blocks>
__global__ void __launch_bounds__(threads_of(Rows)) causal_mma_kernel(CausalAttentionParams p) {
  constexpr int kThreads = threads_of(Rows);
  extern __shared__ __align__(16) char memory[];
  const Buffers shared = buffers_in(memory, p);
  const KeySegment segment = p.segments[blockIdx.z];
  const int first_query = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kQueries;
  const int head = static_cast<int>(blockIdx.y);
  const Tile tile = tile_at(p, segment, first_query, head);
  if (tile.count <= 0) return;
  queue_rows<kThreads>(shared.queries, shared.key_pitch, tile.queries, p.query_stride,
                       p.nope_width + p.rope_width, kQueries, tile.count);
  queue_keys<kThreads>(p, shared, tile, 0);
  copy_async_commit();

  const int row = static_cast<int>(threadIdx.x) / kWarp * 16 * Rows;  // of this warp in the tile
  // Candidates of the warp's first query, and of its last one.
  const int fewest = segment.candidates(first_query + row);
  const int most = segment.candidates(first_query + row + 16 * Rows - 1);
  Softmax softmax[Rows];
#pragma unroll
  for (int g = 0; g < Rows; ++g) {
    softmax[g].begin(p.sinks == nullptr ? nullptr : p.sinks + head);
  }
  float out[Rows][Blocks][2][4] = {};
  for (int first = 0; first < tile.keys; first += kKeys) {
    copy_async_wait<0>();
    __syncthreads();  // the keys are here, and nobody multiplies the values before
    queue_rows<kThreads>(shared.values, shared.value_pitch, tile.values + first * p.value_stride,
                         p.value_stride, p.value_width, kKeys, tile.keys - first);
    copy_async_commit();
    const bool sees = first < most;
    float scores[Rows][kKeys / 8][4];
    if (sees) score(p, shared, row, scores);
    copy_async_wait<0>();
    __syncthreads();  // the values are here, and nobody multiplies these keys
    if (first + kKeys < tile.keys) queue_keys<kThreads>(p, shared, tile, first + kKeys);
    copy_async_commit();
    if (!sees) continue;
    float shrink[Rows][2];
#pragma unroll
    for (int g = 0; g < Rows; ++g) {
      for (int i = 0; i < kKeys / 2; ++i) scores[g][i / 4][i % 4] *= p.scale * kLog2E;
      if (first + kKeys > fewest) mask(segment, first_query + row + 16 * g, first, scores[g]);
      softmax[g].update(scores[g], shrink[g]);
    }
    add_values(p, shared, scores, shrink, out);
  }
  bf16* to = static_cast<bf16*>(p.out) +
             (std::int64_t{segment.first_row} + first_query) * p.out_stride +
             head * p.out_head_stride;
#pragma unroll
  for (int g = 0; g < Rows; ++g) store(p, softmax[g], to, row + 16 * g, tile.count, out[g]);
}

template <int Rows, int Blocks>
cudaError_t launch(const CausalAttentionParams& p, cudaStream_t stream) {
  const auto kernel = causal_mma_kernel<Rows, Blocks>;
  const std::size_t bytes = shared_bytes(p);
  const cudaError_t status = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (status != cudaSuccess) return status;
  const dim3 grid(static_cast<unsigned>(ceil_div(p.most_rows, kQueries)),
                  static_cast<unsigned>(p.heads), static_cast<unsigned>(p.segment_count));
  kernel<<<grid, threads_of(Rows), bytes, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

bool causal_attention_mma_applies(const CausalAttentionParams& p) {
  return p.type == Type::bf16 && p.nope_width % 16 == 0 && p.rope_width % 16 == 0 &&
         p.value_width % 16 == 0 && p.nope_width + p.rope_width <= kMostCausalKeyWidth &&
         p.value_width <= kMostCausalValueWidth &&
         aligned(p.queries, p.query_stride | p.query_head_stride) &&
         aligned(p.nope, p.nope_stride | p.nope_head_stride) && aligned(p.rope, p.rope_stride) &&
         aligned(p.values, p.value_stride | p.value_head_stride) &&
         aligned(p.out, p.out_stride | p.out_head_stride);
}

cudaError_t causal_attention_mma(const CausalAttentionParams& params, cudaStream_t stream) {
  if (!causal_attention_mma_applies(params)) return cudaErrorInvalidValue;
  if (params.value_width <= 64) return launch<2, 4>(params, stream);
  if (params.value_width <= 128) return launch<2, 8>(params, stream);
  static_assert(16 * 16 == kMostCausalValueWidth);
  return launch<1, 16>(params, stream);
}

}  // namespace indexcache::kernels
