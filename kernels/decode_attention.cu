// SPDX-License-Identifier: Apache-2.0
// A block of eight warps owns a part of a row's members and up to 64 of its heads, and walks over
// the members a tile at a time: every warp scores 16 heads with 16 members, then takes a share of
// the value columns for all heads. bf16 keys come through two buffers; FP8 ones are all under way
// from the beginning and are widened a tile at a time.
#include "kernels/decode_attention.h"
#include "kernels/latent_fp8.cuh"
#include "kernels/mma.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kPad = 8;  // bf16 elements: rows start 16 bytes apart in the banks
constexpr int kColumnBlocks = kMostDecodeValueWidth / (16 * kWarps);  // of 16 columns, of a warp

// Rows: heads of a block, of which some may not exist.
template <int Rows, bool Fp8>
struct Shape {
  static constexpr int kRows = Rows;
  static constexpr bool kFp8 = Fp8;
  static constexpr int kRowTiles = Rows / 16;
  static constexpr int kKeys = 16 * kWarps / kRowTiles;   // of a tile
  static constexpr int kTiles = kPartKeys / kKeys;        // of a part
  static constexpr int kBuffers = Fp8 ? 1 : 2;            // of keys in bf16
  static constexpr int kAhead = Fp8 ? kTiles : kBuffers;  // tiles under way
  static constexpr int kScorePitch = kKeys + 4;
  static constexpr int kWeightPitch = kKeys + kPad;
};

template <class S>
struct Buffers {
  bf16* queries;               // [kRows, pitch]
  bf16* keys;                  // [kBuffers, kKeys, pitch]
  char* packed;                // [kTiles, kKeys, kLatentBytes] of FP8
  bf16* weights;               // [kRows, kWeightPitch] exponentials
  float* scores;               // [kRows, kScorePitch]
  float *peak, *sum, *shrink;  // [kRows]
  int* slots;                  // [kPartKeys] page * kPagePositions + place, negative: no member
  int pitch;

  __device__ Buffers(char* memory, int width) : pitch(width + kPad) {
    queries = reinterpret_cast<bf16*>(memory);
    keys = queries + S::kRows * pitch;
    packed = reinterpret_cast<char*>(keys + S::kBuffers * S::kKeys * pitch);
    weights = reinterpret_cast<bf16*>(packed + (S::kFp8 ? kPartKeys * kLatentBytes : 0));
    scores = reinterpret_cast<float*>(weights + S::kRows * S::kWeightPitch);
    peak = scores + S::kRows * S::kScorePitch;
    sum = peak + S::kRows;
    shrink = sum + S::kRows;
    slots = reinterpret_cast<int*>(shrink + S::kRows);
  }
  static std::size_t bytes(int width) {
    const int halves =
        (S::kRows + S::kBuffers * S::kKeys) * (width + kPad) + S::kRows * S::kWeightPitch;
    const int words = S::kRows * (S::kScorePitch + 3) + kPartKeys;
    return static_cast<std::size_t>(2 * halves + 4 * words +
                                    (S::kFp8 ? kPartKeys * kLatentBytes : 0));
  }
  __device__ bf16* tile(int i) const { return keys + i % S::kBuffers * S::kKeys * pitch; }
};

// What a block owns: members [first, first + count) of a row, and its heads from first_head on.
struct Part {
  int row, part, first, count, first_head;
};

__device__ int members_of(const DecodeAttentionParams& p, int row) {
  return min(p.k, p.places[row].candidates);
}

template <class S>
__device__ void find_slots(const DecodeAttentionParams& p, const Part& part,
                           const Buffers<S>& shared) {
  const int i = static_cast<int>(threadIdx.x);
  if (i >= kPartKeys) return;
  int slot = -1;
  if (i < part.count) {
    const int position = p.sets[part.row * p.sets_stride + part.first + i];
    const int page = p.pages.tables[part.row * p.pages.tables_stride + position / kPagePositions];
    slot = page * kPagePositions + position % kPagePositions;
  }
  shared.slots[i] = slot;
}

template <class S>
__device__ void load_queries(const DecodeAttentionParams& p, const Part& part,
                             const Buffers<S>& shared) {
  const int chunks = p.key_width / 8, lane = static_cast<int>(threadIdx.x) % kWarp;
  const bf16* const queries = static_cast<const bf16*>(p.queries) + part.row * p.query_stride;
  for (int row = static_cast<int>(threadIdx.x) / kWarp; row < S::kRows; row += kWarps) {
    const int head = part.first_head + row;
    const bool present = head < p.heads;
    for (int chunk = lane; chunk < chunks; chunk += kWarp) {
      copy_async(shared_address(shared.queries + row * shared.pitch + 8 * chunk),
                 queries + (present ? head : 0) * p.query_head_stride + 8 * chunk, present);
    }
  }
}

// Begins the copies of a tile, a warp per key; keys that are not members become zero.
template <class S>
__device__ void load_tile(const DecodeAttentionParams& p, const Buffers<S>& shared, int tile) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int chunks = p.pages.position_bytes / 16;
  for (int key = static_cast<int>(threadIdx.x) / kWarp; key < S::kKeys; key += kWarps) {
    const int slot = shared.slots[tile * S::kKeys + key];
    const char* const from = static_cast<const char*>(p.pages.data) +
                             std::int64_t{max(slot, 0)} * p.pages.position_bytes;
    const std::uint32_t to =
        S::kFp8 ? shared_address(shared.packed + (tile * S::kKeys + key) * kLatentBytes)
                : shared_address(shared.tile(tile) + key * shared.pitch);
    for (int chunk = lane; chunk < chunks; chunk += kWarp) {
      copy_async(to + static_cast<std::uint32_t>(16 * chunk), from + 16 * chunk, slot >= 0);
    }
  }
}

// FP8 keys of a tile as bf16.
template <class S>
__device__ void widen_tile(const Buffers<S>& shared, int tile) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int key = static_cast<int>(threadIdx.x) / kWarp; key < S::kKeys; key += kWarps) {
    const char* const from = shared.packed + (tile * S::kKeys + key) * kLatentBytes;
    bf16* const to = shared.keys + key * shared.pitch;
    float values[kLatentPerLane];
    read_latent(from, lane, values);
    __nv_bfloat162 pairs[kLatentPerLane / 2];
#pragma unroll
    for (int i = 0; i < kLatentPerLane / 2; ++i) {
      pairs[i] = __floats2bfloat162_rn(values[2 * i], values[2 * i + 1]);
    }
    uint4* const chunks = reinterpret_cast<uint4*>(to + lane * kLatentPerLane);
    chunks[0] = reinterpret_cast<const uint4*>(pairs)[0];
    chunks[1] = reinterpret_cast<const uint4*>(pairs)[1];
    if (lane < kLatentRope / 8) {
      reinterpret_cast<uint4*>(to + kLatentRank)[lane] =
          reinterpret_cast<const uint4*>(latent_rope(from))[lane];
    }
  }
}

// This warp's 16 heads with its 16 keys, times `scale`; keys from `count` on get -inf. Even and odd
// steps of a product have sums of their own, which are added at the end.
template <class S>
__device__ void score(const DecodeAttentionParams& p, const Buffers<S>& shared, const bf16* keys,
                      int count) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int row = warp % S::kRowTiles * 16, key = warp / S::kRowTiles * 16;
  const std::uint32_t q =
      shared_address(shared.queries + (row + lane % 16) * shared.pitch + lane / 16 * 8);
  const std::uint32_t k =
      shared_address(keys + (key + lane % 8 + lane / 16 * 8) * shared.pitch + lane / 8 % 2 * 8);
  float d[2][2][4] = {};
  for (int first = 0; first < p.key_width; first += 32) {
#pragma unroll
    for (int odd = 0; odd < 2; ++odd) {
      const int step = first + 16 * odd;
      if (step >= p.key_width) break;
      std::uint32_t a[4], b[4];
      load_matrices(a, q + static_cast<std::uint32_t>(2 * step));
      load_matrices(b, k + static_cast<std::uint32_t>(2 * step));
      mma(d[odd][0], a, b[0], b[1], bf16{});
      mma(d[odd][1], a, b[2], b[3], bf16{});
    }
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int to = key + i / 4 * 8 + 2 * (lane % 4) + i % 2;
    const float sum = d[0][i / 4][i % 4] + d[1][i / 4][i % 4];
    shared.scores[(row + lane / 4 + i % 4 / 2 * 8) * S::kScorePitch + to] =
        to < count ? sum * p.scale : -INFINITY;
  }
}

// Running softmax of the tile, whose first key exists; a warp per row.
template <class S>
__device__ void exponentiate(const Buffers<S>& shared) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  constexpr int kPerLane = S::kKeys / kWarp;
  for (int row = static_cast<int>(threadIdx.x) / kWarp; row < S::kRows; row += kWarps) {
    const float* const scores = shared.scores + row * S::kScorePitch;
    const float before = shared.peak[row];
    float top = before;
    for (int i = 0; i < kPerLane; ++i) top = fmaxf(top, scores[lane + i * kWarp]);
    top = warp_max(top);
    float sum = 0;
    for (int i = 0; i < kPerLane; ++i) {
      const float weight = expf(scores[lane + i * kWarp] - top);
      shared.weights[row * S::kWeightPitch + lane + i * kWarp] = from_float<bf16>(weight);
      sum += weight;
    }
    sum = warp_sum(sum);
    __syncwarp();
    if (lane == 0) {
      const float shrink = expf(before - top);
      shared.shrink[row] = shrink;
      shared.sum[row] = shared.sum[row] * shrink + sum;
      shared.peak[row] = top;
    }
  }
}

template <class S>
using Accumulators = float[S::kRowTiles][kColumnBlocks][2][4];

// The first column of a warp's block.
__device__ int column_of(int block) {
  return (block * kWarps + static_cast<int>(threadIdx.x) / kWarp) * 16;
}

template <class S>
__device__ void add_values(const DecodeAttentionParams& p, const Buffers<S>& shared,
                           const bf16* keys, Accumulators<S>& out) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int m = 0; m < S::kRowTiles; ++m) {
    const float* const shrink = shared.shrink + 16 * m + lane / 4;
    const float factors[2] = {shrink[0], shrink[8]};
#pragma unroll
    for (int block = 0; block < kColumnBlocks; ++block) {
      for (int i = 0; i < 8; ++i) out[m][block][i / 4][i % 4] *= factors[i % 4 / 2];
    }
  }
#pragma unroll
  for (int step = 0; step < S::kKeys; step += 16) {
    std::uint32_t a[S::kRowTiles][4];
#pragma unroll
    for (int m = 0; m < S::kRowTiles; ++m) {
      load_matrices(a[m], shared_address(shared.weights + (16 * m + lane % 16) * S::kWeightPitch +
                                         step + lane / 16 * 8));
    }
#pragma unroll
    for (int block = 0; block < kColumnBlocks; ++block) {
      const int column = column_of(block);
      if (column >= p.value_width) break;
      std::uint32_t b[4];  // 16 keys by 8 columns, twice
      load_matrices_transposed(
          b, shared_address(keys + (step + lane % 16) * shared.pitch + column + lane / 16 * 8));
#pragma unroll
      for (int m = 0; m < S::kRowTiles; ++m) {
        mma(out[m][block][0], a[m], b[0], b[1], bf16{});
        mma(out[m][block][1], a[m], b[2], b[3], bf16{});
      }
    }
  }
}

template <class S>
__device__ void store(const DecodeAttentionParams& p, const Part& part, const Buffers<S>& shared,
                      const Accumulators<S>& out) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int64_t base = (std::int64_t{part.row} * decode_parts(p.k) + part.part) * p.heads;
#pragma unroll
  for (int m = 0; m < S::kRowTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int head = part.first_head + 16 * m + lane / 4 + 8 * half;
      if (head >= p.heads) continue;
      float* const to = p.mixed + (base + head) * p.value_width + 2 * (lane % 4);
#pragma unroll
      for (int block = 0; block < kColumnBlocks; ++block) {
        const int column = column_of(block);
        if (column >= p.value_width) break;
        for (int n = 0; n < 2; ++n) {
          const float* const pair = out[m][block][n] + 2 * half;
          *reinterpret_cast<float2*>(to + column + 8 * n) = {pair[0], pair[1]};
        }
      }
    }
  }
  const int row = static_cast<int>(threadIdx.x);
  if (row < S::kRows && part.first_head + row < p.heads) {
    p.peaks[base + part.first_head + row] = shared.peak[row];
    p.sums[base + part.first_head + row] = shared.sum[row];
  }
}

// Block (part, group of heads, row).
template <class S>
__global__ void __launch_bounds__(kThreads, 1)
    attend_kernel(const __grid_constant__ DecodeAttentionParams p) {
  extern __shared__ __align__(16) char memory[];
  const Buffers<S> shared(memory, p.key_width);
  const int row = static_cast<int>(blockIdx.z), first = static_cast<int>(blockIdx.x) * kPartKeys;
  const Part part{row, static_cast<int>(blockIdx.x), first,
                  min(members_of(p, row) - first, kPartKeys),
                  static_cast<int>(blockIdx.y) * S::kRows};
  if (part.count <= 0) return;
  find_slots(p, part, shared);
  load_queries(p, part, shared);
  if (threadIdx.x < S::kRows) {
    shared.peak[threadIdx.x] = -INFINITY;
    shared.sum[threadIdx.x] = 0;
  }
  __syncthreads();
  const int tiles = (part.count + S::kKeys - 1) / S::kKeys;
  // A group of copies per tile, which is empty beyond the last one.
  const auto load = [&](int tile) {
    if (tile < tiles) load_tile(p, shared, tile);
    copy_async_commit();
  };
#pragma unroll
  for (int tile = 0; tile < S::kAhead; ++tile) load(tile);
  Accumulators<S> out = {};
  for (int tile = 0; tile < tiles; ++tile) {
    copy_async_wait<S::kAhead - 1>();
    __syncthreads();
    if constexpr (S::kFp8) {
      widen_tile(shared, tile);
      __syncthreads();
    }
    const bf16* const keys = shared.tile(tile);
    score(p, shared, keys, part.count - tile * S::kKeys);
    __syncthreads();
    exponentiate(shared);
    __syncthreads();
    add_values(p, shared, keys, out);
    __syncthreads();  // everybody is through with the keys
    load(tile + S::kAhead);
  }
  store(p, part, shared, out);
}

constexpr int kAddThreads = 128;

// Block (head, row): the sum of its parts, in ascending order.
__global__ void __launch_bounds__(kAddThreads)
    add_parts_kernel(const __grid_constant__ DecodeAttentionParams p) {
  const int head = static_cast<int>(blockIdx.x), row = static_cast<int>(blockIdx.y);
  const int parts = decode_parts(members_of(p, row));
  const std::int64_t base = std::int64_t{row} * decode_parts(p.k) * p.heads + head;
  float top = p.sinks == nullptr ? -INFINITY : p.sinks[head];
  for (int part = 0; part < parts; ++part) top = fmaxf(top, p.peaks[base + part * p.heads]);
  float total = p.sinks == nullptr ? 0.0f : expf(p.sinks[head] - top);
  for (int part = 0; part < parts; ++part) {
    const std::int64_t at = base + part * p.heads;
    total = fmaf(expf(p.peaks[at] - top), p.sums[at], total);
  }
  bf16* const out = static_cast<bf16*>(p.out) + row * p.out_stride + head * p.out_head_stride;
  for (int column = 2 * static_cast<int>(threadIdx.x); column < p.value_width;
       column += 2 * kAddThreads) {
    float2 sum = {};
    for (int part = 0; part < parts; ++part) {
      const std::int64_t at = base + part * p.heads;
      const float factor = expf(p.peaks[at] - top);
      const float2 two = *reinterpret_cast<const float2*>(p.mixed + at * p.value_width + column);
      sum.x = fmaf(factor, two.x, sum.x);
      sum.y = fmaf(factor, two.y, sum.y);
    }
    out[column] = from_float<bf16>(sum.x / total);
    out[column + 1] = from_float<bf16>(sum.y / total);
  }
}

// Few heads get tiles of more keys.
constexpr int kFew = 32, kMany = 64;

template <class Body>
auto with_shape(const DecodeAttentionParams& p, const Body& body) {
  const bool fp8 = p.pages.kind == PageKind::latent_fp8;
  if (p.heads <= kFew) {
    return fp8 ? body(Shape<kFew, true>{}) : body(Shape<kFew, false>{});
  }
  return fp8 ? body(Shape<kMany, true>{}) : body(Shape<kMany, false>{});
}

std::size_t shared_memory() {
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) !=
          cudaSuccess) {
    return 0;
  }
  return static_cast<std::size_t>(bytes);
}

}  // namespace

bool decode_attention_applies(const DecodeAttentionParams& p) {
  if (p.key_width % 16 != 0 || p.value_width % 16 != 0 || p.key_width > kMostDecodeKeyWidth ||
      p.value_width > kMostDecodeValueWidth || p.value_width > p.key_width ||
      !aligned(p.queries, p.query_stride | p.query_head_stride)) {
    return false;
  }
  const bool latent = p.pages.kind == PageKind::latent_fp8 &&
                      p.pages.position_bytes == kLatentBytes &&
                      p.key_width == kLatentRank + kLatentRope;
  const bool rows = p.pages.kind == PageKind::rows && p.pages.position_bytes == 2 * p.key_width;
  return (latent || rows) && with_shape(p, [&](auto shape) {
           return Buffers<decltype(shape)>::bytes(p.key_width) <= shared_memory();
         });
}

cudaError_t decode_attention(const DecodeAttentionParams& params, cudaStream_t stream) {
  if (params.rows == 0 || params.heads == 0) return cudaSuccess;
  if (params.k <= 0 || !decode_attention_applies(params)) return cudaErrorInvalidValue;
  const cudaError_t status = with_shape(params, [&](auto shape) {
    using S = decltype(shape);
    const std::size_t bytes = Buffers<S>::bytes(params.key_width);
    const cudaError_t error = cudaFuncSetAttribute(
        attend_kernel<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    if (error != cudaSuccess) return error;
    const dim3 grid(static_cast<unsigned>(decode_parts(params.k)),
                    static_cast<unsigned>(ceil_div(params.heads, S::kRows)),
                    static_cast<unsigned>(params.rows));
    attend_kernel<S><<<grid, kThreads, bytes, stream>>>(params);
    return cudaGetLastError();
  });
  if (status != cudaSuccess) return status;
  const dim3 grid(static_cast<unsigned>(params.heads), static_cast<unsigned>(params.rows));
  add_parts_kernel<<<grid, kAddThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
