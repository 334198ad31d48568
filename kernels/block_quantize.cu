// SPDX-License-Identifier: Apache-2.0
// Half a warp takes a group of 128 columns, eight consecutive ones per lane.
#include "kernels/block_quantize.h"
#include "kernels/eight.cuh"
#include "kernels/silu.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kMostThreads = 256;
constexpr int kLanes = 16;  // of a group
constexpr int kOwn = kQuantizedGroup / kLanes;
constexpr float kLargest = 448.0f;  // of e4m3
constexpr float kLeastMaximum = 1e-10f;

// Columns [0, valid) of eight; the others are 0. `whole`: rows begin at multiples of 16 bytes.
template <typename T>
__device__ void load(float (&x)[kOwn], const T* from, int valid, bool whole) {
  if (whole && valid == kOwn) {
    load_eight(x, from);
    return;
  }
#pragma unroll
  for (int i = 0; i < kOwn; ++i) x[i] = i < valid ? to_float(from[i]) : 0.0f;
}

// The same of silu(gate) * up, rounded to T.
template <typename T>
__device__ void load_gated(float (&x)[kOwn], const T* gate, const T* up, float limit, int valid,
                           bool whole) {
  float ups[kOwn];
  load(x, gate, valid, whole);
  load(ups, up, valid, whole);
#pragma unroll
  for (int i = 0; i < kOwn; ++i) x[i] = to_float(from_float<T>(silu_times(x[i], ups[i], limit)));
}

// x / scale, rounded once, with two corrections of a product by the reciprocal: a division for
// every element takes twice as many instructions.
__device__ void divide(float (&x)[kOwn], float scale) {
  if (!isfinite(scale)) {  // a remainder would be NaN
#pragma unroll
    for (int i = 0; i < kOwn; ++i) x[i] = x[i] / scale;
    return;
  }
  const float reciprocal = 1.0f / scale;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    float quotient = x[i] * reciprocal;
    quotient = fmaf(fmaf(-quotient, scale, x[i]), reciprocal, quotient);
    x[i] = fmaf(fmaf(-quotient, scale, x[i]), reciprocal, quotient);
  }
}

// Eight columns of a group in e4m3; x becomes the quotients. Returns the scale of all its lanes.
__device__ float quantize(__nv_fp8x2_storage_t (&out)[kOwn / 2], float (&x)[kOwn]) {
  float most = kLeastMaximum;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) most = fmaxf(most, fabsf(x[i]));
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, offset));
  }
  const float scale = most / kLargest;
  divide(x, scale);
#pragma unroll
  for (int i = 0; i < kOwn / 2; ++i) {
    out[i] =
        __nv_cvt_float2_to_fp8x2(make_float2(x[2 * i], x[2 * i + 1]), __NV_SATFINITE, __NV_E4M3);
  }
  return scale;
}

__device__ void write(const BlockQuantizeParams& p, std::int64_t row, int group, int groups,
                      const __nv_fp8x2_storage_t (&values)[kOwn / 2], float scale, int valid) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  if (lane == 0) p.scales[row * groups + group] = scale;
  auto* const to =
      static_cast<__nv_fp8_e4m3*>(p.out) + row * p.width + group * kQuantizedGroup + lane * kOwn;
  if (valid == kOwn && p.width % kOwn == 0) {
    *reinterpret_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(values);
    return;
  }
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    if (i < valid) to[i] = reinterpret_cast<const __nv_fp8_e4m3*>(values)[i];
  }
}

// A block takes a row, a group per half warp at a time.
template <typename T>
__global__ void __launch_bounds__(kMostThreads)
    block_quantize_kernel(BlockQuantizeParams p, bool whole) {
  const std::int64_t row = blockIdx.x;
  const int width = static_cast<int>(p.width);
  const int groups = (width + kQuantizedGroup - 1) / kQuantizedGroup;
  const int halves = static_cast<int>(blockDim.x) / kLanes;
  const int half = static_cast<int>(threadIdx.x) / kLanes;
  const T* const from = static_cast<const T*>(p.x) + row * p.x_stride;
  for (int first = 0; first < groups; first += halves) {  // the same for a whole warp
    const int column =
        (first + half) * kQuantizedGroup + static_cast<int>(threadIdx.x) % kLanes * kOwn;
    const int valid = min(kOwn, max(width - column, 0));
    float x[kOwn];
    if (p.gated) {
      load_gated(x, from + column, from + width + column, p.limit, valid, whole);
    } else {
      load(x, from + column, valid, whole);
    }
    alignas(8) __nv_fp8x2_storage_t values[kOwn / 2];
    const float scale = quantize(values, x);
    if (first + half >= groups) continue;
    for (int copy = 0; copy < p.copies; ++copy) {
      const std::int64_t to = p.places == nullptr ? row : p.places[row * p.copies + copy];
      write(p, to, first + half, groups, values, scale, valid);
    }
  }
}

}  // namespace

cudaError_t block_quantize(const BlockQuantizeParams& params, cudaStream_t stream) {
  if (params.rows == 0 || params.width == 0) return cudaSuccess;
  const std::int64_t groups = ceil_div(params.width, kQuantizedGroup);
  const std::int64_t warps = ceil_div(groups, kWarp / kLanes);
  const auto threads =
      static_cast<unsigned>(warps * kWarp < kMostThreads ? warps * kWarp : kMostThreads);
  return with_float_type(params.type, [&](auto type) {
    using T = decltype(type);
    const bool whole =
        whole_chunks(params.x, params.x_stride * static_cast<std::int64_t>(sizeof(T))) &&
        (!params.gated || params.width % kEight == 0);
    block_quantize_kernel<T>
        <<<static_cast<unsigned>(params.rows), threads, 0, stream>>>(params, whole);
    return cudaGetLastError();
  });
}

}  // namespace indexcache::kernels
