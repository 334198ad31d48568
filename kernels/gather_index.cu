// SPDX-License-Identifier: Apache-2.0
#include "kernels/architecture.h"
#include "kernels/gather.cuh"
#include "kernels/gather_index.h"
#include "kernels/indexer_logits.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kHeads = 8;                   // of a thread at a time, scores
constexpr int kCandidates = 32;             // at a time, backward: one per lane
constexpr int kWarpHeads = 4;               // of a warp at a time, backward
constexpr float kFixedOne = 4294967296.0f;  // 2^32

// Block (row, candidates).
template <typename T>
__global__ void __launch_bounds__(kThreads) scores_kernel(GatherIndexParams p) {
  extern __shared__ __align__(16) float queries[];  // [heads, width]
  const std::int64_t row = blockIdx.x;
  const int i = static_cast<int>(blockIdx.y * kThreads + threadIdx.x);
  widen_to(queries, static_cast<const T*>(p.queries) + row * p.heads * p.width, p.heads * p.width);
  __syncthreads();
  if (i >= p.k) return;
  const std::int64_t key = std::int64_t{p.places[row].key_base} + p.sets[row * p.sets_stride + i];
  const float* weights = p.head_weights + row * p.heads;
  float score = 0;
  for (int first = 0; first < p.heads; first += kHeads) {
    const int heads = min(kHeads, p.heads - first);
    float products[kHeads];
    multiply_heads(products, static_cast<const T*>(p.keys) + key * p.width,
                   queries + first * p.width, p.width, heads, p.width);
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      if (h < heads) score = fmaf(weights[first + h], fmaxf(products[h], 0.0f), score);
    }
  }
  p.scores[row * p.stride + i] = score;
}

// Shared memory of a row: what it has, what it collects, and the candidates at hand.
struct Buffers {
  float* queries;      // [heads, width]
  float* d_queries;    // [heads, width], without head weight and factor
  float* products;     // [heads, kCandidates]: ReLU(s)
  float* gradients;    // [kCandidates]
  float* d_weights;    // [heads], without factor
  std::int32_t* keys;  // [kCandidates] rows
};

std::size_t shared_bytes(const GatherIndexParams& p) {
  return sizeof(float) *
         static_cast<std::size_t>(p.heads * (2 * p.width + kCandidates + 1) + 2 * kCandidates);
}

__device__ Buffers buffers_in(float* memory, const GatherIndexParams& p) {
  Buffers shared{};
  shared.queries = memory;
  shared.d_queries = shared.queries + p.heads * p.width;
  shared.products = shared.d_queries + p.heads * p.width;
  shared.gradients = shared.products + p.heads * kCandidates;
  shared.keys = reinterpret_cast<std::int32_t*>(shared.gradients + kCandidates);
  shared.d_weights = shared.gradients + 2 * kCandidates;
  return shared;
}

template <typename T>
__device__ const T* key_of(const GatherIndexParams& p, const Buffers& shared, int candidate) {
  return static_cast<const T*>(p.keys) + std::int64_t{shared.keys[candidate]} * p.width;
}

// products of every head with the candidates at hand, a lane each.
template <typename T>
__device__ void multiply_candidates(const GatherIndexParams& p, const Buffers& shared, int count) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const T* key = key_of<T>(p, shared, min(lane, count - 1));
  for (int first = static_cast<int>(threadIdx.x) / kWarp * kWarpHeads; first < p.heads;
       first += kThreads / kWarp * kWarpHeads) {
    const int heads = min(kWarpHeads, p.heads - first);
    float products[kWarpHeads];
    multiply_heads(products, key, shared.queries + first * p.width, p.width, heads, p.width);
#pragma unroll
    for (int h = 0; h < kWarpHeads; ++h) {
      if (h >= heads) break;
      shared.products[(first + h) * kCandidates + lane] = fmaxf(products[h], 0.0f);
    }
  }
}

__device__ void add_scaled(float4& sum, float factor, const float4& x) {
  sum.x = fmaf(factor, x.x, sum.x);
  sum.y = fmaf(factor, x.y, sum.y);
  sum.z = fmaf(factor, x.z, sum.z);
  sum.w = fmaf(factor, x.w, sum.w);
}

// What the candidates at hand add to the row's own gradients.
template <typename T>
__device__ void add_to_row(const GatherIndexParams& p, const Buffers& shared, int count) {
  const int fours = p.width / 4;
  for (int item = static_cast<int>(threadIdx.x); item < p.heads * fours; item += kThreads) {
    const int head = item / fours, d = item % fours * 4;
    const float* products = shared.products + head * kCandidates;
    auto* out = reinterpret_cast<float4*>(shared.d_queries + head * p.width + d);
    float4 sum = *out;
    for (int i = 0; i < count; ++i) {
      if (products[i] > 0) {
        add_scaled(sum, shared.gradients[i], load_four(key_of<T>(p, shared, i) + d));
      }
    }
    *out = sum;
  }
  for (int head = static_cast<int>(threadIdx.x); head < p.heads; head += kThreads) {
    float sum = shared.d_weights[head];
    for (int i = 0; i < count; ++i) {
      sum = fmaf(shared.gradients[i], shared.products[head * kCandidates + i], sum);
    }
    shared.d_weights[head] = sum;
  }
}

__device__ void add_fixed(long long* sum, float x) {
  atomicAdd(reinterpret_cast<unsigned long long*>(sum),
            static_cast<unsigned long long>(__float2ll_rn(x * kFixedOne)));
}

// What the row adds to the gradients of the candidates at hand.
__device__ void add_to_keys(const GatherIndexParams& p, const Buffers& shared, std::int64_t row,
                            int count) {
  const int fours = p.width / 4;
  const float* weights = p.head_weights + row * p.heads;
  for (int item = static_cast<int>(threadIdx.x); item < count * fours; item += kThreads) {
    const int i = item / fours, d = item % fours * 4;
    float4 sum = {};
    for (int head = 0; head < p.heads; ++head) {
      if (shared.products[head * kCandidates + i] > 0) {
        add_scaled(sum, weights[head], load_four(shared.queries + head * p.width + d));
      }
    }
    const float gradient = shared.gradients[i];
    long long* out = p.key_sums + std::int64_t{shared.keys[i]} * p.width + d;
    add_fixed(out, gradient * sum.x);
    add_fixed(out + 1, gradient * sum.y);
    add_fixed(out + 2, gradient * sum.z);
    add_fixed(out + 3, gradient * sum.w);
  }
}

// Block: a row.
template <typename T>
__global__ void __launch_bounds__(kThreads) backward_kernel(GatherIndexParams p) {
  extern __shared__ __align__(16) float memory[];
  const Buffers shared = buffers_in(memory, p);
  const std::int64_t row = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x), elements = p.heads * p.width;
  const int key_base = p.places[row].key_base;
  widen_to(shared.queries, static_cast<const T*>(p.queries) + row * elements, elements);
  for (int i = thread; i < elements; i += kThreads) shared.d_queries[i] = 0;
  for (int i = thread; i < p.heads; i += kThreads) shared.d_weights[i] = 0;
  for (int first = 0; first < p.k; first += kCandidates) {
    const int count = min(kCandidates, p.k - first);
    if (thread < count) {
      shared.gradients[thread] = p.scores[row * p.stride + first + thread];
      shared.keys[thread] = key_base + p.sets[row * p.sets_stride + first + thread];
    }
    __syncthreads();
    multiply_candidates<T>(p, shared, count);
    __syncthreads();
    add_to_row<T>(p, shared, count);
    add_to_keys(p, shared, row, count);
    __syncthreads();
  }
  const float* weights = p.head_weights + row * p.heads;
  for (int i = thread; i < elements; i += kThreads) {
    p.d_queries[row * elements + i] = p.factor * weights[i / p.width] * shared.d_queries[i];
  }
  for (int i = thread; i < p.heads; i += kThreads) {
    p.d_head_weights[row * p.heads + i] = p.factor * shared.d_weights[i];
  }
}

__global__ void add_key_sums_kernel(KeySumsParams p) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= p.elements) return;
  const double sum = static_cast<double>(p.key_sums[i]) / static_cast<double>(kFixedOne);
  p.d_keys[i] = fmaf(p.factor, static_cast<float>(sum), p.d_keys[i]);
}

bool fits(const GatherIndexParams& p) {
  return p.k > 0 && p.heads > 0 && p.width % kIndexUnit == 0 &&
         shared_bytes(p) <= static_cast<std::size_t>(most_shared_bytes());
}

template <typename Kernel>
cudaError_t launch(Kernel kernel, const dim3& grid, std::size_t bytes, const GatherIndexParams& p,
                   cudaStream_t stream) {
  const cudaError_t status = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (status != cudaSuccess) return status;
  kernel<<<grid, kThreads, bytes, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t gather_index_scores(const GatherIndexParams& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (!fits(p)) return cudaErrorInvalidValue;
  const dim3 grid(static_cast<unsigned>(p.rows), static_cast<unsigned>(ceil_div(p.k, kThreads)));
  const std::size_t bytes = static_cast<std::size_t>(p.heads * p.width) * sizeof(float);
  return with_float_type(p.type, [&](auto type) {
    return launch(scores_kernel<decltype(type)>, grid, bytes, p, stream);
  });
}

cudaError_t gather_index_backward(const GatherIndexParams& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (!fits(p)) return cudaErrorInvalidValue;
  return with_float_type(p.type, [&](auto type) {
    return launch(backward_kernel<decltype(type)>, dim3(static_cast<unsigned>(p.rows)),
                  shared_bytes(p), p, stream);
  });
}

cudaError_t add_key_sums(const KeySumsParams& params, cudaStream_t stream) {
  if (params.elements == 0) return cudaSuccess;
  add_key_sums_kernel<<<static_cast<unsigned>(ceil_div(params.elements, 256)), 256, 0, stream>>>(
      params);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
