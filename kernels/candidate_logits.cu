// SPDX-License-Identifier: Apache-2.0
// Scores of chosen candidates on CUDA cores, of every type in float32: tiles of one group of 16
// queries and 128 keys, 4 x 4 products per thread. Sums have the order of indexer_logits_f32.cu.
#include "kernels/architecture.h"
#include "kernels/candidate_logits.h"
#include "kernels/common.cuh"
#include "kernels/indexer_logits.h"

namespace indexcache::kernels {
namespace {

constexpr int kQueries = kGeneralCandidateGroup;
constexpr int kKeys = 128;  // of a tile
constexpr int kDepth = 32;  // dimensions in shared memory at a time
constexpr int kThreads = 128;
constexpr int kPerThread = 4;  // queries and keys
constexpr int kQueryPitch = kQueries + 4;
constexpr int kKeyPitch = kKeys + 4;
static_assert(kQueries * kKeys == kThreads * kPerThread * kPerThread);

__device__ float4 load_four(const float* x) {
  return *reinterpret_cast<const float4*>(x);
}
template <typename T>
__device__ float4 load_four(const T* x) {
  return make_float4(to_float(x[0]), to_float(x[1]), to_float(x[2]), to_float(x[3]));
}

template <int Pitch>
__device__ void put(float (&tile)[kDepth][Pitch], int d, int row, const float4& four) {
  tile[d][row] = four.x;
  tile[d + 1][row] = four.y;
  tile[d + 2][row] = four.z;
  tile[d + 3][row] = four.w;
}

struct Tiles {
  float queries[kDepth][kQueryPitch];
  float keys[kDepth][kKeyPitch];
  float weights[kQueries];
  CandidatePair pairs[kQueries];
};

// Dimensions [d, d + kDepth) of a head of the group's queries and of `count` keys; what does not
// exist is zero.
template <typename T>
__device__ void load_tiles(const CandidateLogitsParams& p, Tiles& tiles, int head, int d,
                           std::int64_t first_key, int count) {
  for (int i = static_cast<int>(threadIdx.x); i < (kQueries + kKeys) * kDepth / 4; i += kThreads) {
    const int row = i / (kDepth / 4), at = i % (kDepth / 4) * 4;
    const bool inside = d + at < p.width;
    if (row < kQueries) {
      const T* q = static_cast<const T*>(p.queries) +
                   (std::int64_t{tiles.pairs[row].row} * p.heads + head) * p.width;
      put(tiles.queries, at, row, inside ? load_four(q + d + at) : float4{});
    } else {
      const int u = row - kQueries;
      const T* k = static_cast<const T*>(p.keys) + (first_key + u) * p.width;
      put(tiles.keys, at, u, inside && u < count ? load_four(k + d + at) : float4{});
    }
  }
}

// The scores of `count` keys from `first` of the group's on.
template <typename T>
__device__ void score_tile(const CandidateLogitsParams& p, Tiles& tiles, int first, int count) {
  const std::int64_t first_key = std::int64_t{tiles.pairs[0].first_key} + first;
  const int query = static_cast<int>(threadIdx.x) / (kKeys / kPerThread) * kPerThread;
  const int key = static_cast<int>(threadIdx.x) % (kKeys / kPerThread) * kPerThread;
  float total[kPerThread][kPerThread] = {};
  for (int head = 0; head < p.heads; ++head) {
    float sums[kPerThread][kPerThread] = {};
    for (int d = 0; d < p.width; d += kDepth) {
      __syncthreads();
      load_tiles<T>(p, tiles, head, d, first_key, count);
      if (d == 0 && threadIdx.x < kQueries) {
        const std::int64_t row = tiles.pairs[threadIdx.x].row;
        tiles.weights[threadIdx.x] = p.head_weights[row * p.heads + head];
      }
      __syncthreads();
#pragma unroll 8
      for (int i = 0; i < kDepth; ++i) {
        const float4 q = *reinterpret_cast<const float4*>(&tiles.queries[i][query]);
        const float4 k = *reinterpret_cast<const float4*>(&tiles.keys[i][key]);
        const float a[] = {q.x, q.y, q.z, q.w}, b[] = {k.x, k.y, k.z, k.w};
        for (int m = 0; m < kPerThread; ++m) {
          for (int n = 0; n < kPerThread; ++n) sums[m][n] = fmaf(a[m], b[n], sums[m][n]);
        }
      }
    }
    for (int m = 0; m < kPerThread; ++m) {
      const float weight = tiles.weights[query + m];
      for (int n = 0; n < kPerThread; ++n) {
        total[m][n] = fmaf(weight, fmaxf(sums[m][n], 0.0f), total[m][n]);
      }
    }
  }
  for (int m = 0; m < kPerThread; ++m) {
    const CandidatePair& pair = tiles.pairs[query + m];
    float* out = p.logits + pair.row * p.logits_stride + pair.column + first;
    for (int n = 0; n < kPerThread; ++n) {
      if (first + key + n >= pair.keys) continue;
      const float scale = p.key_scales == nullptr ? 1.0f : p.key_scales[first_key + key + n];
      out[key + n] = total[m][n] * scale;
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) candidates_kernel(CandidateLogitsParams p) {
  __shared__ __align__(16) Tiles tiles;
  const int groups = *p.groups;
  for (std::int64_t group = blockIdx.x; group < groups; group += gridDim.x) {
    __syncthreads();
    if (threadIdx.x < kQueries) tiles.pairs[threadIdx.x] = p.pairs[group * kQueries + threadIdx.x];
    __syncthreads();
    int keys = 0;
    for (const CandidatePair& pair : tiles.pairs) keys = max(keys, pair.keys);
    for (int first = 0; first < keys; first += kKeys) {
      score_tile<T>(p, tiles, first, min(kKeys, keys - first));
    }
  }
}

template <typename T>
cudaError_t launch(const CandidateLogitsParams& p, cudaStream_t stream) {
  candidates_kernel<T><<<static_cast<unsigned>(8 * multiprocessors()), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t candidate_logits_general(const CandidateLogitsParams& params, cudaStream_t stream) {
  if (params.width % kIndexUnit != 0 || params.heads <= 0) return cudaErrorInvalidValue;
  if (params.type == Type::e4m3) return launch<__nv_fp8_e4m3>(params, stream);
  return with_float_type(params.type,
                         [&](auto type) { return launch<decltype(type)>(params, stream); });
}

int candidate_group(Type type, int heads, int width) {
  return candidate_logits_sm90_applies(type, heads, width) ? candidate_group_sm90(heads)
                                                           : kGeneralCandidateGroup;
}

cudaError_t candidate_logits(const CandidateLogitsParams& params, cudaStream_t stream) {
  if (candidate_logits_sm90_applies(params.type, params.heads, params.width)) {
    return candidate_logits_sm90(params, stream);
  }
  return candidate_logits_general(params, stream);
}

}  // namespace indexcache::kernels
