// SPDX-License-Identifier: Apache-2.0
// bf16 attention over gathered rows with warp-level tensor cores, any shape of whole sixteens. A
// block of four warps owns 16 rows of a product, which are heads of one query, and walks over the
// selected keys 64 at a time: every warp scores 16 of them, then takes a share of the value
// columns. Probabilities are rounded to bf16; maxima, sums and results are float32.
//
// A query with few heads shares its block with the next ones. Over all candidates without a window
// their keys are the same but for the last: keys beyond a query's own have a weight of exactly 0,
// which changes no bit of its sums. Queries with sets share a block if the sets are packed.
#include "kernels/attention_keys.cuh"
#include "kernels/attention_sinks.cuh"
#include "kernels/mma.cuh"
#include "kernels/sparse_attention.h"

namespace indexcache::kernels {
namespace {

constexpr int kRows = kMmaTileRows;  // of a block
constexpr int kKeys = 64;
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kPad = 8;  // bf16 elements: rows start 16 bytes apart in the banks
constexpr int kScorePitch = kKeys + 4;
constexpr int kWeightPitch = kKeys + kPad;

struct Buffers {
  bf16* keys;                  // [kKeys, pitch]
  bf16* queries;               // [kRows, pitch]
  bf16* weights;               // [kRows, kWeightPitch] exponentials
  float* scores;               // [kRows, kScorePitch]
  float *peak, *sum, *shrink;  // [kRows]
  int* numbers;                // [kKeys] keys of the tile (attention_keys.cuh)
  int* members;                // [kKeys] of a pack: whose they are
  int pitch;
};

std::size_t shared_bytes(int width) {
  return static_cast<std::size_t>((kKeys + kRows) * (width + kPad) + kRows * kWeightPitch) *
             sizeof(bf16) +
         static_cast<std::size_t>(kRows * kScorePitch + 3 * kRows + 2 * kKeys) * sizeof(float);
}

// Whose a block is: some heads of one query; neighbors' over all of their candidates; a pack's.
enum class Share { none, candidates, pack };

// What a block owns: heads [first_head, first_head + heads) of each query. Where only one query has
// it, no row asks for a division.
template <Share share>
struct Tile {
  static constexpr bool kShared = share != Share::none;

  std::int64_t row;  // the first query
  int queries;       // neighbors in a sequence
  int first_head, heads;
  KeyList list;                 // of the last query, which has the most candidates; or of the pack
  const std::uint8_t* members;  // of the pack

  __device__ bool has(int tile_row) const { return !kShared || tile_row < queries * heads; }
  __device__ int query(int tile_row) const { return kShared ? tile_row / heads : 0; }
  __device__ int head(int tile_row) const {
    return first_head + (kShared ? tile_row % heads : tile_row);
  }
  // Rows that are not there count like the last one.
  __device__ int candidates(const SparseAttentionParams& p, int tile_row) const {
    if (share != Share::candidates) return list.count;
    return p.places[row + min(query(tile_row), queries - 1)].candidates;
  }
};

// The key that a thread announces, and whose it is.
struct Announced {
  int number = kNoKey, members = 0;

  // The `first`-th of the list for the first thread; kNoKey for threads that announce none.
  template <Share share>
  __device__ Announced(const Tile<share>& tile, int first) {
    const int i = first + static_cast<int>(threadIdx.x);
    if (threadIdx.x >= kKeys) return;
    number = tile.list.key(i);
    if (share == Share::pack && number != kNoKey) members = tile.members[i];
  }

  __device__ void write(const Buffers& shared) const {
    if (threadIdx.x >= kKeys) return;
    shared.numbers[threadIdx.x] = number;
    shared.members[threadIdx.x] = members;
  }
};

__device__ Buffers buffers_in(char* memory, int width) {
  Buffers shared{};
  shared.pitch = width + kPad;
  shared.keys = reinterpret_cast<bf16*>(memory);
  shared.queries = shared.keys + kKeys * shared.pitch;
  shared.weights = shared.queries + kRows * shared.pitch;
  shared.scores = reinterpret_cast<float*>(shared.weights + kRows * kWeightPitch);
  shared.peak = shared.scores + kRows * kScorePitch;
  shared.sum = shared.peak + kRows;
  shared.shrink = shared.sum + kRows;
  shared.numbers = reinterpret_cast<int*>(shared.shrink + kRows);
  shared.members = shared.numbers + kKeys;
  return shared;
}

// Gathers the rows of the keys that were announced; the others become zero. A number that is read
// from global memory right before the copy of its row makes every copy wait for a read.
__device__ void load_keys(const SparseAttentionParams& p, const Buffers& shared) {
  const int chunks = p.key_width / 8;
  const int keys_at_once = kThreads / chunks, rest = kThreads % chunks;
  int key = static_cast<int>(threadIdx.x) / chunks, chunk = static_cast<int>(threadIdx.x) % chunks;
  while (key < kKeys) {
    const int number = shared.numbers[key];
    const bool present = number != kNoKey;
    copy_async(shared_address(shared.keys + key * shared.pitch + 8 * chunk),
               key_row<bf16>(p, present ? number : shared.numbers[0]) + 8 * chunk, present);
    key += keys_at_once;
    chunk += rest;
    if (chunk >= chunks) chunk -= chunks, ++key;
  }
}

template <Share share>
__device__ void load_queries(const SparseAttentionParams& p, const Buffers& shared,
                             const Tile<share>& tile) {
  const int chunks = p.key_width / 8;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * chunks; i += kThreads) {
    const int row = i / chunks, d = i % chunks * 8;
    const bool present = tile.has(row) && tile.head(row) < p.heads;
    copy_async(shared_address(shared.queries + row * shared.pitch + d),
               static_cast<const bf16*>(p.queries) +
                   (tile.row + (present ? tile.query(row) : 0)) * p.query_stride +
                   (present ? tile.head(row) : 0) * p.query_head_stride + d,
               present);
  }
}

// What counts for this thread's two rows.
struct Counting {
  int candidates[2];   // keys before this one
  unsigned member[2];  // of a pack, keys that have this bit
};

// This warp's 16 of the keys from the `first`-th on against all rows, times `scale`; keys that do
// not count for a row get -inf.
template <Share share>
__device__ void score(const SparseAttentionParams& p, const Buffers& shared,
                      const Counting& counting, int first) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int mine = static_cast<int>(threadIdx.x) / kWarp * 16;
  const std::uint32_t q = shared_address(shared.queries + lane % 16 * shared.pitch + lane / 16 * 8);
  // Matrices of 8 keys: the first 8 along two eighths of k, then the other 8.
  const std::uint32_t k = shared_address(
      shared.keys + (mine + lane % 8 + lane / 16 * 8) * shared.pitch + lane / 8 % 2 * 8);
  float d[2][4] = {};
  for (int step = 0; step < p.key_width; step += 16) {
    const auto offset = static_cast<std::uint32_t>(step * static_cast<int>(sizeof(bf16)));
    std::uint32_t a[4], b[4];
    load_matrices(a, q + offset);
    load_matrices(b, k + offset);
    mma(d[0], a, b[0], b[1], bf16{});
    mma(d[1], a, b[2], b[3], bf16{});
  }
  for (int i = 0; i < 8; ++i) {
    const int r = i % 4 / 2;
    const int key = mine + i / 4 * 8 + 2 * (lane % 4) + i % 2;
    const bool counts = share == Share::pack
                            ? (static_cast<unsigned>(shared.members[key]) & counting.member[r]) != 0
                            : first + key < counting.candidates[r];
    shared.scores[(lane / 4 + r * 8) * kScorePitch + key] =
        counts ? d[i / 4][i % 4] * p.scale : -INFINITY;
  }
}

// Running softmax of the tile; a warp takes four rows, a lane two keys of each.
__device__ void exponentiate(const Buffers& shared) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int row = static_cast<int>(threadIdx.x) / kWarp; row < kRows; row += kWarps) {
    const float* scores = shared.scores + row * kScorePitch;
    const float before = shared.peak[row];
    const float low = scores[lane], high = scores[lane + kWarp];
    const float top = fmaxf(before, warp_max(fmaxf(low, high)));
    const float low_weight = expf(low - top), high_weight = expf(high - top);
    shared.weights[row * kWeightPitch + lane] = from_float<bf16>(low_weight);
    shared.weights[row * kWeightPitch + lane + kWarp] = from_float<bf16>(high_weight);
    const float sum = warp_sum(low_weight + high_weight);
    __syncwarp();
    if (lane == 0) {
      const float shrink = expf(before - top);
      shared.shrink[row] = shrink;
      shared.sum[row] = shared.sum[row] * shrink + sum;
      shared.peak[row] = top;
    }
  }
}

// out[16 rows, 16 columns] of each of this warp's blocks of columns += weights x values.
template <int Blocks>
__device__ void add_values(const SparseAttentionParams& p, const Buffers& shared,
                           float (&out)[Blocks][2][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const float shrink[2] = {shared.shrink[lane / 4], shared.shrink[lane / 4 + 8]};
  std::uint32_t a[kKeys / 16][4];
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
    load_matrices(a[step], shared_address(shared.weights + lane % 16 * kWeightPitch + 16 * step +
                                          lane / 16 * 8));
  }
#pragma unroll
  for (int block = 0; block < Blocks; ++block) {
    const int column = (block * kWarps + warp) * 16;
    if (column >= p.value_width) break;
    for (int i = 0; i < 8; ++i) out[block][i / 4][i % 4] *= shrink[i % 4 / 2];
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step) {
      std::uint32_t b[4];  // 16 keys by 8 columns, twice
      load_matrices_transposed(
          b, shared_address(shared.keys + (16 * step + lane % 16) * shared.pitch + column +
                            lane / 16 * 8));
      mma(out[block][0], a[step], b[0], b[1], bf16{});
      mma(out[block][1], a[step], b[2], b[3], bf16{});
    }
  }
}

template <int Blocks, Share share>
__device__ void store(const SparseAttentionParams& p, const Buffers& shared,
                      const Tile<share>& tile, const float (&out)[Blocks][2][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = lane / 4 + 8 * r;
    if (!tile.has(row) || tile.head(row) >= p.heads) continue;
    const float factor = 1.0f / shared.sum[row];
    bf16* to = static_cast<bf16*>(p.out) + (tile.row + tile.query(row)) * p.out_stride +
               tile.head(row) * p.out_head_stride + 2 * (lane % 4);
#pragma unroll
    for (int block = 0; block < Blocks; ++block) {
      const int column = (block * kWarps + warp) * 16;
      if (column >= p.value_width) break;
      for (int n = 0; n < 2; ++n) {
        const float* pair = out[block][n] + 2 * r;
        to[column + 8 * n] = from_float<bf16>(pair[0] * factor);
        to[column + 8 * n + 1] = from_float<bf16>(pair[1] * factor);
      }
    }
  }
}

template <int Blocks, Share share>
__device__ void attend(const SparseAttentionParams& p, const Buffers& shared,
                       const Tile<share>& tile) {
  load_queries(p, shared, tile);
  if (threadIdx.x < kRows) {
    const int head = tile.head(static_cast<int>(threadIdx.x));
    shared.peak[threadIdx.x] = first_peak(p, head);
    shared.sum[threadIdx.x] = first_sum(p, head);
  }
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  Counting counting{};
  for (int r = 0; r < 2; ++r) {
    counting.candidates[r] = tile.candidates(p, lane / 4 + 8 * r);
    counting.member[r] = 1u << tile.query(lane / 4 + 8 * r);
  }
  float out[Blocks][2][4] = {};
  Announced(tile, 0).write(shared);
  __syncthreads();
  for (int first = 0; first < tile.list.count; first += kKeys) {
    load_keys(p, shared);
    copy_async_commit();
    const Announced next(tile, first + kKeys);  // arrives while this tile is computed
    copy_async_wait<0>();
    __syncthreads();
    score<share>(p, shared, counting, first);
    __syncthreads();
    exponentiate(shared);
    __syncthreads();
    add_values(p, shared, out);
    next.write(shared);
    __syncthreads();
  }
  store(p, shared, tile, out);
}

__device__ bool follows(const RowPlace& place, const RowPlace& first, int distance) {
  return place.key_base == first.key_base && place.position == first.position + distance;
}

// Neighbors in a sequence go together, those of different ones one after the other.
template <int Blocks>
__device__ void attend_neighbors(const SparseAttentionParams& p, const Buffers& shared,
                                 std::int64_t row, std::int64_t end) {
  while (row < end) {
    int queries = 1;
    while (row + queries < end && follows(p.places[row + queries], p.places[row], queries)) {
      ++queries;
    }
    attend<Blocks>(
        p, shared,
        Tile<Share::candidates>{row, queries, 0, p.heads, KeyList(p, row + queries - 1), nullptr});
    row += queries;
    __syncthreads();  // everybody has stored before the buffers serve the next ones
  }
}

// Block (queries, group of heads). Blocks: groups of 16 value columns of a warp. A block that
// neighbors share has `per_block` queries at most, with all of their heads.
template <int Blocks, Share share>
__global__ void __launch_bounds__(kThreads)
    attention_mma_kernel(SparseAttentionParams p, int per_block) {
  extern __shared__ __align__(16) char memory[];
  const Buffers shared = buffers_in(memory, p.key_width);
  const std::int64_t block = blockIdx.x;
  if constexpr (share == Share::candidates) {
    attend_neighbors<Blocks>(p, shared, block * per_block, min((block + 1) * per_block, p.rows));
  } else if constexpr (share == Share::pack) {
    if (block >= p.packed.counts->packs) return;
    const Pack pack = p.packed.packs[block];
    attend<Blocks>(p, shared,
                   Tile<share>{pack.first_row, pack.queries, 0, p.heads, KeyList(p.packed, pack),
                               p.packed.members + pack.begin});
  } else {
    const int first_head = static_cast<int>(blockIdx.y) * kRows;
    attend<Blocks>(p, shared, Tile<share>{block, 1, first_head, kRows, KeyList(p, block), nullptr});
  }
}

template <int Blocks, Share share>
cudaError_t launch(const SparseAttentionParams& p, cudaStream_t stream) {
  const auto kernel = attention_mma_kernel<Blocks, share>;
  const std::size_t bytes = shared_bytes(p.key_width);
  const cudaError_t status = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (status != cudaSuccess) return status;
  const int per_block = share == Share::candidates ? kRows / p.heads : 1;
  const dim3 grid(static_cast<unsigned>(ceil_div(p.rows, per_block)),
                  static_cast<unsigned>(ceil_div(p.heads, kRows)));
  kernel<<<grid, kThreads, bytes, stream>>>(p, per_block);
  return cudaGetLastError();
}

template <int Blocks>
cudaError_t launch(const SparseAttentionParams& p, cudaStream_t stream) {
  if (p.packed.queries > 0) return launch<Blocks, Share::pack>(p, stream);
  const bool shared = p.sets == nullptr && p.recent == nullptr && p.heads <= kRows / 2;
  return shared ? launch<Blocks, Share::candidates>(p, stream)
                : launch<Blocks, Share::none>(p, stream);
}

}  // namespace

bool sparse_attention_mma_applies(const SparseAttentionParams& p) {
  return p.type == Type::bf16 && p.key_width % 16 == 0 && p.value_width % 16 == 0 &&
         p.key_width <= kMostAttentionKeyWidth && p.value_width <= kMostAttentionValueWidth &&
         aligned(p.queries, p.query_stride | p.query_head_stride) &&
         aligned(p.keys, p.key_stride) && aligned(p.recent, p.recent_stride);
}

cudaError_t sparse_attention_mma(const SparseAttentionParams& params, cudaStream_t stream) {
  if (!sparse_attention_mma_applies(params) || params.packed.queries * params.heads > kRows) {
    return cudaErrorInvalidValue;
  }
  if (params.value_width <= 2 * kWarps * 16) return launch<2>(params, stream);
  static_assert(8 * kWarps * 16 == kMostAttentionValueWidth);
  return launch<8>(params, stream);
}

}  // namespace indexcache::kernels
