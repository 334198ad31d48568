// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/streams.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 256;

// One number, or four neighbors.
template <int Count>
struct Group;
template <>
struct Group<1> {
  using Type = float;
};
template <>
struct Group<4> {
  using Type = float4;
};

template <int Count>
__device__ __forceinline__ void load(float (&x)[Count], const float* from) {
  *reinterpret_cast<typename Group<Count>::Type*>(x) =
      *reinterpret_cast<const typename Group<Count>::Type*>(from);
}
template <int Count>
__device__ __forceinline__ void store(float* to, const float (&x)[Count]) {
  *reinterpret_cast<typename Group<Count>::Type*>(to) =
      *reinterpret_cast<const typename Group<Count>::Type*>(x);
}

__device__ float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

// A matrix [n, n] whose row j is in lane j of a warp; the other lanes have a copy of the last row.
struct MixingMatrix {
  float row[kMostStreams];
  int n;

  template <typename Body>
  __device__ void for_columns(const Body& body) {
#pragma unroll
    for (int k = 0; k < kMostStreams; ++k) {
      if (k < n) body(k);
    }
  }

  __device__ void divide_row(float eps) {
    float total = 0;
    for_columns([&](int k) { total += row[k]; });
    for_columns([&](int k) { row[k] /= total + eps; });
  }

  // All columns at a time: one after the other, each would wait for its own sum.
  __device__ void divide_columns(float eps) {
    float totals[kMostStreams] = {};
    for (int j = 0; j < n; ++j) {
      for_columns([&](int k) { totals[k] += __shfl_sync(kAllLanes, row[k], j); });
    }
    for_columns([&](int k) { row[k] /= totals[k] + eps; });
  }

  __device__ void apply_softmax() {
    float peak = row[0];
    for_columns([&](int k) { peak = fmaxf(peak, row[k]); });
    for_columns([&](int k) { row[k] = expf(row[k] - peak); });
    divide_row(0.0f);
  }
};

// By a whole warp. logit(i) is that of product i.
template <typename Logit>
__device__ void write_mixing(const ReadStreamsParams& p, float* out, const Logit& logit) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, j = min(lane, p.n - 1);
  MixingMatrix matrix{{}, p.n};
  matrix.for_columns([&](int k) { matrix.row[k] = logit((2 + j) * p.n + k); });
  matrix.apply_softmax();
  matrix.for_columns([&](int k) { matrix.row[k] += p.eps; });
  for (int round = 0; round < p.mixing_rounds; ++round) {
    if (round > 0) matrix.divide_row(p.eps);
    matrix.divide_columns(p.eps);
  }
  if (lane >= p.n) return;
  matrix.for_columns([&](int k) { out[j * p.n + k] = matrix.row[k]; });
}

// Of this thread's numbers.
template <int Count>
__device__ float own_squares(const float* streams, std::int64_t all) {
  float squares = 0;
  for (std::int64_t i = threadIdx.x * Count; i < all; i += kThreads * Count) {
    alignas(16) float x[Count];
    load(x, streams + i);
#pragma unroll
    for (int j = 0; j < Count; ++j) squares = fmaf(x[j], x[j], squares);
  }
  return squares;
}

// One block per row; a second look at the streams hits a cache.
template <int Count>
__global__ void __launch_bounds__(kThreads) read_streams_kernel(ReadStreamsParams p) {
  __shared__ float scratch[kWarp];
  const std::int64_t row = blockIdx.x;
  const float* streams = p.streams + row * p.stride;
  const std::int64_t all = p.n * p.width;
  const float squares =
      p.squares != nullptr ? p.squares[row] : block_sum(own_squares<Count>(streams, all), scratch);
  const float mean = squares / static_cast<float>(all);
  const float norm = 1.0f / sqrtf(mean + p.norm_eps);
  const int coefficients = stream_coefficients(p.n, p.mixing_rounds > 0);
  const int products = p.factors != nullptr ? p.n + coefficients : p.n;
  const auto logit = [&](int i, float scale) {
    return scale * (p.products[row * products + i] * norm) + p.base[i];
  };
  const auto coefficient = [&](int i, float scale) { return sigmoid(logit(i, scale)); };
  float shares[kMostStreams];
#pragma unroll
  for (int k = 0; k < kMostStreams; ++k) {
    shares[k] = k < p.n ? coefficient(k, p.scale[0]) + p.eps : 0.0f;
  }
  for (std::int64_t i = threadIdx.x * Count; i < p.width; i += kThreads * Count) {
    alignas(16) float sum[Count] = {};
#pragma unroll
    for (int k = 0; k < kMostStreams; ++k) {
      if (k >= p.n) break;
      alignas(16) float x[Count];
      load(x, streams + k * p.width + i);
#pragma unroll
      for (int j = 0; j < Count; ++j) sum[j] = fmaf(shares[k], x[j], sum[j]);
    }
    store(p.out + row * p.width + i, sum);
  }
  const int k = static_cast<int>(threadIdx.x);
  if (p.factors == nullptr || k >= kWarp) return;
  float* factors = p.factors + row * coefficients;
  if (k < p.n) factors[k] = p.factor_scale * coefficient(p.n + k, p.scale[1]) + p.factor_eps;
  if (p.mixing_rounds == 0) return;
  write_mixing(p, factors + p.n, [&](int i) { return logit(i, p.scale[2]); });
}

// A thread adds its numbers to every stream.
template <int Count>
__global__ void __launch_bounds__(kThreads) write_streams_kernel(WriteStreamsParams p) {
  const std::int64_t per_row = p.width / Count;
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const std::int64_t row = i / per_row;
  if (row >= p.rows) return;
  const std::int64_t column = i % per_row * Count;
  alignas(16) float y[Count];
  load(y, p.y + row * p.width + column);
  for (int k = 0; k < p.n; ++k) {
    const float factor = p.factors[row * p.n + k];
    float* to = p.streams + row * p.stride + k * p.width + column;
    alignas(16) float x[Count];
    load(x, to);
#pragma unroll
    for (int j = 0; j < Count; ++j) x[j] = fmaf(factor, y[j], x[j]);
    store(to, x);
  }
}

// The same where streams are mixed: a thread has its numbers of all of them.
template <int Count>
__global__ void __launch_bounds__(kThreads) mix_streams_kernel(WriteStreamsParams p) {
  const std::int64_t per_row = p.width / Count;
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const std::int64_t row = i / per_row;
  if (row >= p.rows) return;
  const std::int64_t column = i % per_row * Count;
  const float* factors = p.factors + row * stream_coefficients(p.n, true);
  float* streams = p.streams + row * p.stride + column;
  alignas(16) float y[Count];
  load(y, p.y + row * p.width + column);
  alignas(16) float before[kMostStreams][Count];
#pragma unroll
  for (int j = 0; j < kMostStreams; ++j) {
    if (j < p.n) load(before[j], streams + j * p.width);
  }
  for (int k = 0; k < p.n; ++k) {
    alignas(16) float sum[Count] = {};
#pragma unroll
    for (int j = 0; j < kMostStreams; ++j) {
      if (j >= p.n) continue;
      const float share = factors[p.n + j * p.n + k];
#pragma unroll
      for (int c = 0; c < Count; ++c) sum[c] = fmaf(share, before[j][c], sum[c]);
    }
#pragma unroll
    for (int c = 0; c < Count; ++c) sum[c] = fmaf(factors[k], y[c], sum[c]);
    store(streams + k * p.width, sum);
  }
}

template <int Count>
void launch_write(const WriteStreamsParams& p, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(ceil_div(p.rows * p.width / Count, kThreads));
  if (p.mixes) {
    mix_streams_kernel<Count><<<blocks, kThreads, 0, stream>>>(p);
  } else {
    write_streams_kernel<Count><<<blocks, kThreads, 0, stream>>>(p);
  }
}

// Whether rows can be read four numbers at a time.
bool whole_fours(const float* streams, std::int64_t stride, const float* row, std::int64_t width) {
  return width % 4 == 0 && whole_chunks(streams, stride * 4) && whole_chunks(row, width * 4);
}

}  // namespace

cudaError_t read_streams(const ReadStreamsParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  if (params.n < 1 || params.n > kMostStreams) return cudaErrorInvalidValue;
  const auto rows = static_cast<unsigned>(params.rows);
  if (whole_fours(params.streams, params.stride, params.out, params.width)) {
    read_streams_kernel<4><<<rows, kThreads, 0, stream>>>(params);
  } else {
    read_streams_kernel<1><<<rows, kThreads, 0, stream>>>(params);
  }
  return cudaGetLastError();
}

cudaError_t write_streams(const WriteStreamsParams& params, cudaStream_t stream) {
  if (params.rows == 0 || params.width == 0) return cudaSuccess;
  if (params.n < 1 || params.n > kMostStreams) return cudaErrorInvalidValue;
  if (whole_fours(params.streams, params.stride, params.y, params.width)) {
    launch_write<4>(params, stream);
  } else {
    launch_write<1>(params, stream);
  }
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
