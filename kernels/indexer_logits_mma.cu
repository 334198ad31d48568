// SPDX-License-Identifier: Apache-2.0
// bf16 and e4m3 scores with warp-level tensor cores. A block keeps the heads of some queries in
// shared memory, up to 128 columns, and walks over tiles of 128 keys. Keys are the M side, 32 a
// warp, and stay in registers while the warp goes through the columns; a column's weighted ReLU is
// added in registers, and the lanes that share a row and a query at its end. Heads that divide 8
// stand side by side in a group of 8 columns; other numbers are padded to one. e4m3 becomes
// float16 on the way in, which is exact.
#include "kernels/indexer_logits.h"
#include "kernels/mma.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kKeys = 128;  // of a tile
constexpr int kColumns = 128;
constexpr int kThreads = 128;
constexpr int kPad = 8;  // elements of 16 bits: rows start 16 bytes apart in the banks

// 16-bit type that the tensor cores multiply.
template <typename T>
struct Wide {
  using Type = bf16;
};
template <>
struct Wide<__nv_fp8_e4m3> {
  using Type = __half;
};

// Copies 8 elements, widened, or zeros if `present` is false; their address is a multiple of 8
// elements. bf16 is on its way until copies_done().
__device__ void copy_eight(bf16* to, const bf16* from, bool present) {
  copy_async(shared_address(to), from, present);
}
__device__ void copy_eight(__half* to, const __nv_fp8_e4m3* from, bool present) {
  const uint2 bytes = present ? *reinterpret_cast<const uint2*>(from) : make_uint2(0, 0);
  const unsigned words[2] = {bytes.x, bytes.y};
  __half2 pairs[4];
  for (int i = 0; i < 4; ++i) {
    const auto two = static_cast<__nv_fp8x2_storage_t>(words[i / 2] >> (i % 2 * 16));
    pairs[i] = __half2(__nv_cvt_fp8x2_to_halfraw2(two, __NV_E4M3));
  }
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(pairs);
}
__device__ void copies_done() {
  copy_async_commit();
  copy_async_wait<0>();
}

// How the heads of queries fill groups of 8 columns.
struct Tiling {
  int stride;   // columns from one query to the next
  int queries;  // of a block
  int pitch;    // elements of a row in shared memory
};

__host__ __device__ Tiling tiling_of(const IndexerLogitsParams& p) {
  const bool side_by_side = p.heads == 1 || p.heads == 2 || p.heads == 4;
  const int stride = side_by_side ? p.heads : (p.heads + 7) / 8 * 8;
  return {stride, stride >= kColumns ? 1 : kColumns / stride, p.width + kPad};
}

// The queries' heads, one row a column; what has no source is zero.
template <typename T, typename W>
__device__ void load_columns(const IndexerLogitsParams& p, const Tiling& tiling, std::int64_t row,
                             int queries, W* tile, float* weights) {
  const int columns = (tiling.queries * tiling.stride + 7) / 8 * 8, chunks = p.width / 8;
  for (int i = static_cast<int>(threadIdx.x); i < columns * chunks; i += kThreads) {
    const int column = i / chunks, d = i % chunks * 8;
    const int query = column / tiling.stride, head = column % tiling.stride;
    const bool present = query < queries && head < p.heads;
    const std::int64_t from = present ? (row + query) * p.heads + head : row * p.heads;
    copy_eight(tile + column * tiling.pitch + d,
               static_cast<const T*>(p.queries) + from * p.width + d, present);
  }
  for (int column = static_cast<int>(threadIdx.x); column < columns; column += kThreads) {
    const int query = column / tiling.stride, head = column % tiling.stride;
    weights[column] =
        query < queries && head < p.heads ? p.head_weights[(row + query) * p.heads + head] : 0.0f;
  }
}

template <typename T, typename W>
__device__ void load_keys(const T* keys, int width, int pitch, int valid, W* tile) {
  const int chunks = width / 8;
  for (int i = static_cast<int>(threadIdx.x); i < kKeys * chunks; i += kThreads) {
    const int row = i / chunks, d = i % chunks * 8;
    const std::int64_t from = row < valid ? row : 0;
    copy_eight(tile + row * pitch + d, keys + from * width + d, row < valid);
  }
}

// The sums of one query and the two keys of a lane, `key` and `key` + 8; `seeing` are the first
// queries that have them as candidates.
__device__ void store(const IndexerLogitsParams& p, const KeySegment& segment, int query, int key,
                      const int (&seeing)[2], float low, float high) {
  if (query >= segment.rows) return;
  float* out = p.logits + (std::int64_t{segment.first_row} + query) * p.logits_stride;
  const float* scales = p.key_scales == nullptr ? nullptr : p.key_scales + segment.key_base;
  if (query >= seeing[0]) out[key] = scales == nullptr ? low : low * scales[key];
  if (query >= seeing[1]) out[key + 8] = scales == nullptr ? high : high * scales[key + 8];
}

// Sums over the heads of finished columns, for 16 keys. `sums` collects them where a query is wider
// than a group of 8; where a group holds several queries, each is finished at once.
__device__ void add_group(const IndexerLogitsParams& p, const KeySegment& segment,
                          const Tiling& tiling, int first_query, int key, const int (&seeing)[2],
                          int group, const float* weights, const float (&d)[4], float (&sums)[2]) {
  const int quad = static_cast<int>(threadIdx.x) % 4;
  const float2 w = *reinterpret_cast<const float2*>(weights + group + 2 * quad);
  const float first[2] = {w.x * fmaxf(d[0], 0.0f), w.x * fmaxf(d[2], 0.0f)};
  const float second[2] = {w.y * fmaxf(d[1], 0.0f), w.y * fmaxf(d[3], 0.0f)};
  if (tiling.stride == 1) {
    const int query = first_query + group + 2 * quad;
    store(p, segment, query, key, seeing, first[0], first[1]);
    store(p, segment, query + 1, key, seeing, second[0], second[1]);
    return;
  }
  for (int i = 0; i < 2; ++i) sums[i] += first[i] + second[i];
  const int end = group + 8;
  if (tiling.stride > 8 && end % tiling.stride != 0) return;
  const int lanes = tiling.stride >= 8 ? 4 : tiling.stride / 2;  // that share a query
  for (int offset = 1; offset < lanes; offset *= 2) {
    for (float& sum : sums) sum += __shfl_xor_sync(kAllLanes, sum, offset);
  }
  if (quad % lanes == 0) {
    const int query = first_query + (end - 8 + 2 * quad) / tiling.stride;
    store(p, segment, query, key, seeing, sums[0], sums[1]);
  }
  sums[0] = sums[1] = 0;
}

template <typename T, int Steps>
__global__ void __launch_bounds__(kThreads) logits_mma_kernel(IndexerLogitsParams p) {
  using W = typename Wide<T>::Type;
  extern __shared__ __align__(16) char memory[];
  const Tiling tiling = tiling_of(p);
  const KeySegment segment = p.segments[blockIdx.z];
  const int first_query = static_cast<int>(blockIdx.y) * tiling.queries;
  const int queries = min(tiling.queries, segment.rows - first_query);
  if (queries <= 0) return;
  const int keys = segment.candidates(first_query + queries - 1);
  if (static_cast<int>(blockIdx.x) * kKeys >= keys) return;
  const int columns = (queries * tiling.stride + 7) / 8 * 8;
  W *k_tile = reinterpret_cast<W*>(memory), *q_tile = k_tile + kKeys * tiling.pitch;
  float* weights = reinterpret_cast<float*>(q_tile + (tiling.queries * tiling.stride + 7) / 8 * 8 *
                                                         tiling.pitch);
  load_columns<T>(p, tiling, segment.first_row + first_query, queries, q_tile, weights);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  // Rows 0-15 along k, then the next 8 of k; columns 0-7 along four times 8 of k.
  const std::uint32_t k_address =
      shared_address(k_tile + (warp * 32 + lane % 16) * tiling.pitch + lane / 16 * 8);
  const std::uint32_t q_address = shared_address(q_tile + lane % 8 * tiling.pitch + lane / 8 * 8);
  for (int first = static_cast<int>(blockIdx.x) * kKeys; first < keys;
       first += static_cast<int>(gridDim.x) * kKeys) {
    __syncthreads();
    load_keys(static_cast<const T*>(p.keys) + (std::int64_t{segment.key_base} + first) * p.width,
              p.width, tiling.pitch, keys - first, k_tile);
    copies_done();
    __syncthreads();
    std::uint32_t a[2][Steps][4];
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int s = 0; s < Steps; ++s) {
        if (16 * s >= p.width) break;
        load_matrices(a[m][s],
                      k_address + static_cast<std::uint32_t>((m * 16 * tiling.pitch + 16 * s) * 2));
      }
    }
    float sums[2][2] = {};
    for (int group = 0; group < columns; group += 8) {
      float d[2][4] = {};
#pragma unroll
      for (int s = 0; s < Steps; s += 2) {
        if (16 * s >= p.width) break;
        std::uint32_t b[4];  // the last two are not used if the width ends between
        load_matrices(b,
                      q_address + static_cast<std::uint32_t>((group * tiling.pitch + 16 * s) * 2));
        for (int m = 0; m < 2; ++m) mma(d[m], a[m][s], b[0], b[1], W{});
        if (16 * (s + 1) >= p.width) break;
        for (int m = 0; m < 2; ++m) mma(d[m], a[m][s + 1], b[2], b[3], W{});
      }
      for (int m = 0; m < 2; ++m) {
        const int key = first + warp * 32 + m * 16 + lane / 4;
        const int seeing[2] = {segment.first_seeing(key), segment.first_seeing(key + 8)};
        add_group(p, segment, tiling, first_query, key, seeing, group, weights, d[m], sums[m]);
      }
    }
  }
}

template <typename T, int Steps>
cudaError_t launch(const IndexerLogitsParams& p, cudaStream_t stream) {
  const Tiling tiling = tiling_of(p);
  const std::size_t columns =
      static_cast<std::size_t>((tiling.queries * tiling.stride + 7) / 8 * 8);
  // A group's last load may reach past its row by the width of a pair of steps.
  const std::size_t bytes =
      (columns + kKeys) * static_cast<std::size_t>(tiling.pitch) * 2 + columns * sizeof(float) + 64;
  const auto kernel = logits_mma_kernel<T, Steps>;
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

template <typename T>
cudaError_t launch(const IndexerLogitsParams& p, cudaStream_t stream) {
  return p.width <= 64 ? launch<T, 4>(p, stream) : launch<T, 8>(p, stream);
}

}  // namespace

cudaError_t indexer_logits_mma(const IndexerLogitsParams& params, cudaStream_t stream) {
  if (params.width % kIndexTensorCoreUnit != 0 || params.width > kMostIndexTensorCoreWidth ||
      params.heads <= 0) {
    return cudaErrorInvalidValue;
  }
  if (params.type == Type::bf16) return launch<bf16>(params, stream);
  if (params.type == Type::e4m3) return launch<__nv_fp8_e4m3>(params, stream);
  return cudaErrorInvalidValue;
}

}  // namespace indexcache::kernels
