// SPDX-License-Identifier: Apache-2.0
#include "kernels/quantize_group.cuh"
#include "kernels/silu.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kMostThreads = 256;

// Columns [0, valid) of eight; the others are 0. `whole`: rows begin at multiples of 16 bytes.
template <typename T>
__device__ void load(float (&x)[kEight], const T* from, int valid, bool whole) {
  if (whole && valid == kEight) {
    load_eight(x, from);
    return;
  }
#pragma unroll
  for (int i = 0; i < kEight; ++i) x[i] = i < valid ? to_float(from[i]) : 0.0f;
}

// The same of silu(gate) * up, rounded to T.
template <typename T>
__device__ void load_gated(float (&x)[kEight], const T* gate, const T* up, float limit, int valid,
                           bool whole) {
  float ups[kEight];
  load(x, gate, valid, whole);
  load(ups, up, valid, whole);
  silu_times(x, ups, limit);
  round_eight<T>(x);
}

__device__ void write(const BlockQuantizeParams& p, std::int64_t row, int group, int groups,
                      const QuantizedEight& values, float scale, int valid) {
  const int lane = static_cast<int>(threadIdx.x) % kGroupLanes;
  if (lane == 0) p.scales[row * groups + group] = scale;
  auto* const to =
      static_cast<__nv_fp8_e4m3*>(p.out) + row * p.width + group * kQuantizedGroup + lane * kEight;
  if (valid == kEight && p.width % kEight == 0) {
    *reinterpret_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(&values);
    return;
  }
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    if (i < valid) to[i] = reinterpret_cast<const __nv_fp8_e4m3*>(&values)[i];
  }
}

// A block takes a row, a group per half warp at a time.
template <typename T, bool kGated>
__global__ void __launch_bounds__(kMostThreads)
    block_quantize_kernel(BlockQuantizeParams p, bool whole) {
  const std::int64_t row = blockIdx.x;
  const int width = static_cast<int>(p.width);
  const int groups = (width + kQuantizedGroup - 1) / kQuantizedGroup;
  const int halves = static_cast<int>(blockDim.x) / kGroupLanes;
  const int half = static_cast<int>(threadIdx.x) / kGroupLanes;
  const T* const from = static_cast<const T*>(p.x) + row * p.x_stride;
  for (int first = 0; first < groups; first += halves) {  // the same for a whole warp
    const int column =
        (first + half) * kQuantizedGroup + static_cast<int>(threadIdx.x) % kGroupLanes * kEight;
    const int valid = min(kEight, max(width - column, 0));
    float x[kEight];
    if constexpr (kGated) {
      load_gated(x, from + column, from + width + column, p.limit, valid, whole);
    } else {
      load(x, from + column, valid, whole);
    }
    QuantizedEight values;
    const float scale = quantize_group(values, x);
    if (first + half < groups) write(p, row, first + half, groups, values, scale, valid);
  }
}

}  // namespace

cudaError_t block_quantize(const BlockQuantizeParams& params, cudaStream_t stream) {
  if (params.rows == 0 || params.width == 0) return cudaSuccess;
  const std::int64_t groups = ceil_div(params.width, kQuantizedGroup);
  const std::int64_t warps = ceil_div(groups, kWarp / kGroupLanes);
  const auto threads =
      static_cast<unsigned>(warps * kWarp < kMostThreads ? warps * kWarp : kMostThreads);
  return with_float_type(params.type, [&](auto type) {
    using T = decltype(type);
    const bool whole =
        whole_chunks(params.x, params.x_stride * static_cast<std::int64_t>(sizeof(T))) &&
        (!params.gated || params.width % kEight == 0);
    const auto kernel =
        params.gated ? block_quantize_kernel<T, true> : block_quantize_kernel<T, false>;
    kernel<<<static_cast<unsigned>(params.rows), threads, 0, stream>>>(params, whole);
    return cudaGetLastError();
  });
}

}  // namespace indexcache::kernels
