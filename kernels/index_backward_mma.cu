// SPDX-License-Identifier: Apache-2.0
// bf16 with warp-level tensor cores. A warp owns 16 queries of a head, or 16 keys, as the M side of
// both products: what the first leaves in its registers, turned into factors, is the left operand
// of the second. Tiles of the other side come through two stages of shared memory and serve both
// products, plain and transposed. Widths are filled up with zeros to 64 or 128, so that no branch
// stands between the instructions of a product.
//
// Bounds at 4 heads of 64, 8 x 512 queries, 2,048 keys (7.4 million pairs): 7.5 GFLOP a side are
// 8 us at the peak of the tensor cores and about 13 us of mma.sync; every m16n8k16 reads 256 bytes
// of shared memory, 16 us; tiles are 100 MB from L2, about 18 us. Nothing else is near, so shared
// memory and L2 bound it, at about twice the tensor cores' time.
#include "kernels/distill_rows.h"
#include "kernels/index_backward.h"
#include "kernels/indexer_logits.h"
#include "kernels/mma.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kKeys = 64;     // of a tile on either side
constexpr int kQueries = 32;  // of a tile on the side of the keys
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kPad = 8;  // bf16 elements: rows start 16 bytes apart in the banks
constexpr int kQueryGradientPitch = kKeys + 8;  // floats: pairs of 4 rows stand side by side
constexpr int kKeyGradientPitch = kKeys + 4;    // floats: 2 rows apart, 8 banks apart
static_assert(kKeys == kDistillTile && kKeys == 16 * kWarps);
static_assert(kDistillTile % kQueries == 0);

__device__ std::uint32_t packed(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

// 16 rows of global memory as left operands; rows from `count` and columns from `width` on are
// zero.
template <int Steps>
__device__ void load_fragments(std::uint32_t (&a)[Steps][4], const bf16* source,
                               std::int64_t stride, int count, int width) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int s = 0; s < Steps; ++s) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i % 2 * 8, column = 16 * s + i / 2 * 8 + lane % 4 * 2;
      a[s][i] = row < count && column < width
                    ? *reinterpret_cast<const std::uint32_t*>(source + row * stride + column)
                    : 0u;
    }
  }
}

// Elements from one row to the next in shared memory.
template <int Steps>
constexpr int kPitch = 16 * Steps + kPad;

// Queues the copy of rows to shared memory; rows from `count` and columns from `width` on are zero.
template <int Steps, int Rows>
__device__ void queue_rows(bf16* tile, const bf16* source, std::int64_t stride, int count,
                           int width) {
  constexpr int kChunks = 2 * Steps;
  static_assert(Rows * kChunks % kThreads == 0);
#pragma unroll
  for (int j = 0; j < Rows * kChunks / kThreads; ++j) {
    const int i = j * kThreads + static_cast<int>(threadIdx.x);
    const int row = i / kChunks, d = i % kChunks * 8;
    const bool present = row < count && d < width;
    copy_async(shared_address(tile + row * kPitch<Steps> + d),
               present ? source + row * stride + d : source, present);
  }
}

// Likewise kKeys columns of score gradients.
__device__ void queue_gradients(float* tile, int pitch, int rows, const float* source,
                                std::int64_t stride, int count) {
  for (int i = static_cast<int>(threadIdx.x); i < rows * (kKeys / 4); i += kThreads) {
    const int row = i / (kKeys / 4), column = i % (kKeys / 4) * 4;
    const bool present = row < count;
    copy_async(shared_address(tile + row * pitch + column),
               source + (present ? row : 0) * stride + column, present);
  }
}

// products[n] = a x 16 rows of the tile, 8 of them in each n.
template <int Steps>
__device__ void multiply(float (&products)[2][4], const std::uint32_t (&a)[Steps][4],
                         const bf16* tile) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::uint32_t rows =
      shared_address(tile + (lane % 8 + lane / 16 * 8) * kPitch<Steps> + lane / 8 % 2 * 8);
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) products[n][i] = 0;
  }
#pragma unroll
  for (int s = 0; s < Steps; ++s) {
    std::uint32_t b[4];
    load_matrices(b, rows + static_cast<std::uint32_t>(32 * s));
    mma(products[0], a[s], b[0], b[1], bf16{});
    mma(products[1], a[s], b[2], b[3], bf16{});
  }
}

// sums += factors x the same 16 rows.
template <int Steps>
__device__ void add_rows(float (&sums)[2 * Steps][4], const float (&factors)[2][4],
                         const bf16* tile) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::uint32_t rows = shared_address(tile + lane % 16 * kPitch<Steps> + lane / 16 * 8);
  const std::uint32_t a[4] = {
      packed(factors[0][0], factors[0][1]), packed(factors[0][2], factors[0][3]),
      packed(factors[1][0], factors[1][1]), packed(factors[1][2], factors[1][3])};
#pragma unroll
  for (int s = 0; s < Steps; ++s) {
    std::uint32_t b[4];
    load_matrices_transposed(b, rows + static_cast<std::uint32_t>(32 * s));
    mma(sums[2 * s], a, b[0], b[1], bf16{});
    mma(sums[2 * s + 1], a, b[2], b[3], bf16{});
  }
}

// Calls body(address of two floats, sum, second sum) for what this thread has of 16 rows.
template <int Steps, typename Body>
__device__ void for_pairs(float (&sums)[2 * Steps][4], float* out, std::int64_t stride, int count,
                          int width, const Body& body) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int n = 0; n < 2 * Steps; ++n) {
    if (8 * n >= width) break;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = lane / 4 + 8 * r;
      if (row >= count) continue;
      body(*reinterpret_cast<float2*>(out + row * stride + 8 * n + lane % 4 * 2), sums[n][2 * r],
           sums[n][2 * r + 1]);
    }
  }
}

struct WritePair {
  __device__ void operator()(float2& out, float low, float high) const { out = {low, high}; }
};

// How the warps of a block divide queries and heads.
struct QuerySplit {
  int heads;    // of a block: 1, 2 or 4
  int queries;  // of a block
};

QuerySplit split_of(int heads) {
  const int side_by_side = heads >= 3 ? 4 : heads;
  return {side_by_side, 16 * kWarps / side_by_side};
}

template <int Steps>
std::size_t query_stage_bytes(int queries) {
  return static_cast<std::size_t>(kKeys * kPitch<Steps>) * sizeof(bf16) +
         static_cast<std::size_t>(queries * kQueryGradientPitch) * sizeof(float);
}

// Turns the products of 16 queries and 16 keys into factors of the keys; `gradients` are this
// thread's of the tile.
__device__ void make_factors(float (&s)[2][4], const float* gradients, const float (&weights)[2],
                             float (&d_weights)[2]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int n = i / 2, r = i % 2;
    const float2 g =
        *reinterpret_cast<const float2*>(gradients + 8 * r * kQueryGradientPitch + 8 * n);
    float &low = s[n][2 * r], &high = s[n][2 * r + 1];
    d_weights[r] = fmaf(g.x, fmaxf(low, 0.0f), d_weights[r]);
    d_weights[r] = fmaf(g.y, fmaxf(high, 0.0f), d_weights[r]);
    low = low > 0 ? weights[r] * g.x : 0.0f;
    high = high > 0 ? weights[r] * g.y : 0.0f;
  }
}

// Adds over the lanes that share a query; `out` is the warp's first, `stride` leads to the next.
__device__ void write_weights(float (&d_weights)[2], float* out, int stride, int count) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int r = 0; r < 2; ++r) {
    for (int lanes = 1; lanes < 4; lanes *= 2) {
      d_weights[r] += __shfl_xor_sync(kAllLanes, d_weights[r], lanes);
    }
    const int query = lane / 4 + 8 * r;
    if (lane % 4 == 0 && query < count) out[std::int64_t{query} * stride] = d_weights[r];
  }
}

// Block (tile of queries, group of heads, segment).
template <int Steps>
__global__ void __launch_bounds__(kThreads)
    query_side_kernel(IndexBackwardParams p, QuerySplit split, int stage_bytes) {
  extern __shared__ __align__(16) char memory[];
  const KeySegment segment = p.segments[blockIdx.z];
  const int first_query = static_cast<int>(blockIdx.x) * split.queries;
  const int queries = min(split.queries, segment.rows - first_query);
  if (queries <= 0) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int head = static_cast<int>(blockIdx.y) * split.heads + warp % split.heads;
  const int first = warp / split.heads * 16;  // of this warp's queries in the tile
  const int mine = head < p.heads ? min(16, queries - first) : 0;
  const std::int64_t row = segment.first_row + first_query;
  const std::int64_t query_stride = std::int64_t{p.heads} * p.width;
  const std::int64_t offset = mine > 0 ? (row + first) * query_stride + head * p.width : 0;
  const bf16* keys = static_cast<const bf16*>(p.keys) + std::int64_t{segment.key_base} * p.width;
  const int key_count = segment.candidates(first_query + queries - 1);
  const int tiles = (key_count + kKeys - 1) / kKeys;
  const auto stage = [&](int tile) {
    return reinterpret_cast<bf16*>(memory + tile % 2 * stage_bytes);
  };
  const auto queue = [&](int tile) {
    if (tile < tiles) {
      bf16* to = stage(tile);
      queue_rows<Steps, kKeys>(to, keys + std::int64_t{tile} * kKeys * p.width, p.width,
                               key_count - tile * kKeys, p.width);
      queue_gradients(reinterpret_cast<float*>(to + kKeys * kPitch<Steps>), kQueryGradientPitch,
                      split.queries, p.score_gradients + row * p.stride + tile * kKeys, p.stride,
                      queries);
    }
    copy_async_commit();
  };
  queue(0);
  std::uint32_t a[Steps][4];
  load_fragments(a, static_cast<const bf16*>(p.queries) + offset, query_stride, mine, p.width);
  const float* head_weights = p.head_weights + (row + first) * p.heads + head;
  const float weights[2] = {lane / 4 < mine ? head_weights[lane / 4 * p.heads] : 0.0f,
                            lane / 4 + 8 < mine ? head_weights[(lane / 4 + 8) * p.heads] : 0.0f};
  float d_weights[2] = {}, sums[2 * Steps][4] = {};
  for (int tile = 0; tile < tiles; ++tile) {
    copy_async_wait<0>();
    __syncthreads();  // this tile has come, and nobody reads the stage that is filled next
    queue(tile + 1);
    const bf16* k = stage(tile);
    const float* g = reinterpret_cast<const float*>(k + kKeys * kPitch<Steps>) +
                     (first + lane / 4) * kQueryGradientPitch + lane % 4 * 2;
    for (int slice = 0; mine > 0 && slice < kKeys; slice += 16) {
      float s[2][4];
      multiply(s, a, k + slice * kPitch<Steps>);
      make_factors(s, g + slice, weights, d_weights);
      add_rows<Steps>(sums, s, k + slice * kPitch<Steps>);
    }
  }
  for_pairs<Steps>(sums, p.d_queries + offset, query_stride, mine, p.width, WritePair{});
  write_weights(d_weights, p.d_head_weights + (row + first) * p.heads + head, p.heads, mine);
}

// Shared memory on the side of the keys: two stages of queries of a head and of their weights, and
// of the score gradients of all heads.
template <int Steps>
struct KeyBuffers {
  bf16* queries;     // [2, kQueries, kPitch]
  float* gradients;  // [2, kQueries, kKeyGradientPitch]
  float* weights;    // [2, kQueries]

  static constexpr std::size_t kBytes =
      2 * kQueries * (kPitch<Steps> * sizeof(bf16) + (1 + kKeyGradientPitch) * sizeof(float));

  __device__ explicit KeyBuffers(char* memory)
      : queries(reinterpret_cast<bf16*>(memory)),
        gradients(reinterpret_cast<float*>(queries + 2 * kQueries * kPitch<Steps>)),
        weights(gradients + 2 * kQueries * kKeyGradientPitch) {}

  __device__ bf16* queries_of(int step) const {
    return queries + step % 2 * kQueries * kPitch<Steps>;
  }
  __device__ float* weights_of(int step) const { return weights + step % 2 * kQueries; }
  __device__ float* gradients_of(int tile) const {
    return gradients + tile % 2 * kQueries * kKeyGradientPitch;
  }
};

// What this thread has of 16 keys by kQueries queries of the tile of score gradients.
__device__ void read_gradients(float (&g)[kQueries / 16][2][4], const float* tile) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int key = static_cast<int>(threadIdx.x) / kWarp * 16 + lane / 4;
#pragma unroll
  for (int i = 0; i < kQueries / 2; ++i) {
    const int query = i / 8 * 16 + i / 4 % 2 * 8 + lane % 4 * 2 + i % 2;
    g[i / 8][i / 4 % 2][i % 4] = tile[query * kKeyGradientPitch + key + i % 4 / 2 * 8];
  }
}

// The queries that a block of keys walks over: tiles of kQueries, every head of each.
struct QueryWalk {
  int first_row, rows;  // of the segment
  int first_key, first_query, steps;
};

__device__ QueryWalk walk_at(const IndexBackwardParams& p, const KeySegment& segment,
                             int first_key) {
  const int seeing = max(0, segment.first_seeing(first_key));  // the first that does
  const int first_query = seeing / kQueries * kQueries;
  const int tiles = (segment.rows - first_query + kQueries - 1) / kQueries;
  return {segment.first_row, segment.rows, first_key, first_query, tiles * p.heads};
}

template <int Steps>
__device__ void queue_queries(const IndexBackwardParams& p, const KeyBuffers<Steps>& shared,
                              const QueryWalk& walk, int step) {
  if (step < walk.steps) {
    const int tile = step / p.heads, head = step - tile * p.heads;
    const int query = walk.first_query + tile * kQueries, count = walk.rows - query;
    const std::int64_t row = walk.first_row + query;
    const std::int64_t query_stride = std::int64_t{p.heads} * p.width;
    queue_rows<Steps, kQueries>(
        shared.queries_of(step),
        static_cast<const bf16*>(p.queries) + row * query_stride + head * p.width, query_stride,
        count, p.width);
    if (threadIdx.x < kQueries) {
      const int i = static_cast<int>(threadIdx.x);
      copy_async_word(shared_address(shared.weights_of(step) + i),
                      p.head_weights + (row + (i < count ? i : 0)) * p.heads + head, i < count);
    }
    if (head == 0) {
      queue_gradients(shared.gradients_of(tile), kKeyGradientPitch, kQueries,
                      p.score_gradients + row * p.stride + walk.first_key, p.stride, count);
    }
  }
  copy_async_commit();
}

// Block (tile of keys, segment). Four of them, or two, share a multiprocessor's registers.
template <int Steps>
__global__ void __launch_bounds__(kThreads, Steps == 4 ? 4 : 2)
    key_side_kernel(IndexBackwardParams p) {
  extern __shared__ __align__(16) char memory[];
  const KeyBuffers<Steps> shared(memory);
  const KeySegment segment = p.segments[blockIdx.y];
  const int first_key = static_cast<int>(blockIdx.x) * kKeys;
  const int keys = segment.candidates(segment.rows - 1) - first_key;  // of the last query
  if (keys <= 0) return;
  const QueryWalk walk = walk_at(p, segment, first_key);
  const int first = static_cast<int>(threadIdx.x) / kWarp * 16;  // of this warp's keys
  const int mine = min(16, keys - first);
  const std::int64_t offset =
      (std::int64_t{segment.key_base} + first_key + (mine > 0 ? first : 0)) * p.width;
  queue_queries(p, shared, walk, 0);
  std::uint32_t a[Steps][4];
  load_fragments(a, static_cast<const bf16*>(p.keys) + offset, p.width, mine, p.width);
  float sums[2 * Steps][4] = {}, g[kQueries / 16][2][4] = {};
  for_pairs<Steps>(sums, p.d_keys + offset, p.width, mine, p.width,
                   [](const float2& out, float& low, float& high) { low = out.x, high = out.y; });
  int tile = 0, head = 0;
  for (int step = 0; step < walk.steps; ++step) {
    copy_async_wait<0>();
    __syncthreads();  // this step has come, and nobody reads the stage that is filled next
    queue_queries(p, shared, walk, step + 1);
    if (head == 0) read_gradients(g, shared.gradients_of(tile));
    const float* weights = shared.weights_of(step) + threadIdx.x % 4 * 2;
#pragma unroll
    for (int slice = 0; slice < kQueries / 16; ++slice) {
      const bf16* q = shared.queries_of(step) + slice * 16 * kPitch<Steps>;
      float s[2][4];
      multiply(s, a, q);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int n = i / 4, column = i % 2;
        const float factor = weights[slice * 16 + 8 * n + column] * g[slice][n][i % 4];
        s[n][i % 4] = s[n][i % 4] > 0 ? factor : 0.0f;
      }
      add_rows<Steps>(sums, s, q);
    }
    if (++head == p.heads) head = 0, ++tile;
  }
  for_pairs<Steps>(sums, p.d_keys + offset, p.width, mine, p.width, WritePair{});
}

template <int Steps>
cudaError_t launch(const IndexBackwardParams& p, cudaStream_t stream) {
  const QuerySplit split = split_of(p.heads);
  const std::size_t stage_bytes = query_stage_bytes<Steps>(split.queries);
  cudaError_t status =
      cudaFuncSetAttribute(query_side_kernel<Steps>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(2 * stage_bytes));
  if (status != cudaSuccess) return status;
  const auto segments = static_cast<unsigned>(p.segment_count);
  const dim3 queries(static_cast<unsigned>(ceil_div(p.most_rows, split.queries)),
                     static_cast<unsigned>(ceil_div(p.heads, split.heads)), segments);
  query_side_kernel<Steps>
      <<<queries, kThreads, 2 * stage_bytes, stream>>>(p, split, static_cast<int>(stage_bytes));
  status = cudaGetLastError();
  if (status != cudaSuccess || p.most_keys == 0) return status;
  constexpr std::size_t bytes = KeyBuffers<Steps>::kBytes;
  status = cudaFuncSetAttribute(key_side_kernel<Steps>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                static_cast<int>(bytes));
  if (status != cudaSuccess) return status;
  const dim3 keys(static_cast<unsigned>(ceil_div(p.most_keys, kKeys)), segments);
  key_side_kernel<Steps><<<keys, kThreads, bytes, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

bool index_backward_mma_applies(Type type, int width) {
  return type == Type::bf16 && width % kIndexTensorCoreUnit == 0 &&
         width <= kMostIndexTensorCoreWidth;
}

cudaError_t index_backward_mma(const IndexBackwardParams& p, cudaStream_t stream) {
  if (!index_backward_mma_applies(p.type, p.width)) return cudaErrorInvalidValue;
  return p.width <= 64 ? launch<4>(p, stream) : launch<8>(p, stream);
}

}  // namespace indexcache::kernels
