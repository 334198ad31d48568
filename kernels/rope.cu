// SPDX-License-Identifier: Apache-2.0
#include "kernels/eight.cuh"
#include "kernels/rope.h"

namespace indexcache::kernels {
namespace {

struct Pair {
  float u, v;
};
__device__ Pair rotated(float u, float v, float c, float s) {
  return {u * c - v * s, u * s + v * c};
}

// One thread per pair.
template <typename T>
__global__ void rope_kernel(RopeParams p) {
  const std::int64_t pairs = p.width / 2;
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= p.rows * p.heads * pairs) return;
  const std::int64_t pair = i % pairs;
  const std::int64_t head = i / pairs % p.heads;
  const std::int64_t row = i / pairs / p.heads;
  const std::int64_t angle = p.places[row].position * pairs + pair;
  const std::int64_t first = p.interleaved ? 2 * pair : pair;
  const std::int64_t second = p.interleaved ? first + 1 : pair + pairs;
  const T* x = static_cast<const T*>(p.x) + row * p.x_stride + head * p.x_head_stride;
  T* out = static_cast<T*>(p.out) + row * p.out_stride + head * p.out_head_stride;
  const Pair r = rotated(to_float(x[first]), to_float(x[second]), p.cosines[angle], p.sines[angle]);
  out[first] = from_float<T>(r.u);
  out[second] = from_float<T>(r.v);
}

// Eight elements: four pairs next to each other, or one element each of eight pairs with eight
// more elements half a head later.
template <typename T>
__device__ void rotate_interleaved(const T* x, T* out, const float* cosines, const float* sines) {
  float e[kEight];
  load_eight(e, x);
#pragma unroll
  for (int i = 0; i < kEight; i += 2) {
    const Pair r = rotated(e[i], e[i + 1], cosines[i / 2], sines[i / 2]);
    e[i] = r.u;
    e[i + 1] = r.v;
  }
  store_eight(out, e);
}

template <typename T>
__device__ void rotate_halves(const T* x, T* out, std::int64_t half, const float* cosines,
                              const float* sines) {
  float u[kEight], v[kEight];
  load_eight(u, x);
  load_eight(v, x + half);
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    const Pair r = rotated(u[i], v[i], cosines[i], sines[i]);
    u[i] = r.u;
    v[i] = r.v;
  }
  store_eight(out, u);
  store_eight(out + half, v);
}

template <typename T>
__global__ void rope_eight_kernel(RopeParams p) {
  const auto pairs = static_cast<unsigned>(p.width / 2), heads = static_cast<unsigned>(p.heads);
  const unsigned of_thread = p.interleaved ? kEight / 2 : kEight;  // pairs
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  const unsigned at = i / (pairs / of_thread), head = at % heads, row = at / heads;
  if (row >= p.rows) return;
  const unsigned pair = i % (pairs / of_thread) * of_thread;
  const T* x = static_cast<const T*>(p.x) + row * p.x_stride + head * p.x_head_stride;
  T* out = static_cast<T*>(p.out) + row * p.out_stride + head * p.out_head_stride;
  const std::int64_t angle = std::int64_t{p.places[row].position} * pairs + pair;
  if (p.interleaved) {
    rotate_interleaved(x + 2 * pair, out + 2 * pair, p.cosines + angle, p.sines + angle);
  } else {
    rotate_halves(x + pair, out + pair, pairs, p.cosines + angle, p.sines + angle);
  }
}

// Every head of x and out begins at 16 bytes.
bool whole_heads(const RopeParams& p) {
  const std::int64_t width = p.interleaved ? p.width : p.width / 2;
  return whole_eights(p.x, p.type, p.x_stride, width) &&
         whole_eights(p.x, p.type, p.x_head_stride, width) &&
         whole_eights(p.out, p.type, p.out_stride, width) &&
         whole_eights(p.out, p.type, p.out_head_stride, width);
}

}  // namespace

cudaError_t rope(const RopeParams& params, cudaStream_t stream) {
  const std::int64_t pairs = params.rows * params.heads * (params.width / 2);
  if (params.width % 2 != 0) return cudaErrorInvalidValue;
  if (pairs == 0) return cudaSuccess;
  const auto blocks = [](std::int64_t threads) {
    return static_cast<unsigned>(ceil_div(threads, 256));
  };
  return with_float_type(params.type, [&](auto type) {
    using T = decltype(type);
    if (whole_heads(params) && pairs < INT32_MAX) {
      const int of_thread = params.interleaved ? kEight / 2 : kEight;
      rope_eight_kernel<T><<<blocks(pairs / of_thread), 256, 0, stream>>>(params);
    } else {
      rope_kernel<T><<<blocks(pairs), 256, 0, stream>>>(params);
    }
    return cudaGetLastError();
  });
}

}  // namespace indexcache::kernels
