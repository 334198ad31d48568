// SPDX-License-Identifier: Apache-2.0
// Half a warp takes a group of 128 columns, eight consecutive ones per lane.
#include "kernels/block_quantize.h"
#include "kernels/common.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 16;  // of a group
constexpr int kOwn = kQuantizedGroup / kLanes;
constexpr float kLargest = 448.0f;  // of e4m3
constexpr float kLeastMaximum = 1e-10f;

// Columns [0, valid) of eight; the others are 0. `whole`: rows begin at multiples of 16 bytes.
template <typename T>
__device__ void load(float (&x)[kOwn], const T* from, int valid, bool whole) {
  if (whole && valid == kOwn) {
    T values[kOwn];
#pragma unroll
    for (int i = 0; i < static_cast<int>(sizeof(values)) / 16; ++i) {
      reinterpret_cast<uint4*>(values)[i] = reinterpret_cast<const uint4*>(from)[i];
    }
#pragma unroll
    for (int i = 0; i < kOwn; ++i) x[i] = to_float(values[i]);
    return;
  }
#pragma unroll
  for (int i = 0; i < kOwn; ++i) x[i] = i < valid ? to_float(from[i]) : 0.0f;
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    block_quantize_kernel(BlockQuantizeParams p, bool whole) {
  const std::int64_t groups = ceil_div(p.width, kQuantizedGroup);
  const std::int64_t id = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) / kLanes;
  const bool present = id < p.rows * groups;  // the whole warp goes on, for its shuffles
  const std::int64_t row = present ? id / groups : 0, group = present ? id % groups : 0;
  const std::int64_t column = group * kQuantizedGroup + threadIdx.x % kLanes * kOwn;
  const int valid =
      present ? static_cast<int>(min(std::int64_t{kOwn}, max(p.width - column, std::int64_t{0})))
              : 0;
  float x[kOwn];
  load(x, static_cast<const T*>(p.x) + row * p.x_stride + column, valid, whole);
  float most = kLeastMaximum;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) most = fmaxf(most, fabsf(x[i]));
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, offset));
  }
  const float scale = most / kLargest;
  if (!present) return;
  if (threadIdx.x % kLanes == 0) p.scales[id] = scale;
  __nv_fp8_e4m3 out[kOwn];
#pragma unroll
  for (int i = 0; i < kOwn; ++i) out[i] = __nv_fp8_e4m3(x[i] / scale);
  auto* const to = static_cast<__nv_fp8_e4m3*>(p.out) + row * p.width + column;
  if (valid == kOwn && p.width % kOwn == 0) {
    *reinterpret_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(out);
    return;
  }
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    if (i < valid) to[i] = out[i];
  }
}

}  // namespace

cudaError_t block_quantize(const BlockQuantizeParams& params, cudaStream_t stream) {
  const std::int64_t groups = params.rows * ceil_div(params.width, kQuantizedGroup);
  if (groups == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>(ceil_div(groups * kLanes, kThreads));
  return with_float_type(params.type, [&](auto type) {
    using T = decltype(type);
    const bool whole = reinterpret_cast<std::uintptr_t>(params.x) % 16 == 0 &&
                       params.x_stride * static_cast<std::int64_t>(sizeof(T)) % 16 == 0;
    block_quantize_kernel<T><<<blocks, kThreads, 0, stream>>>(params, whole);
    return cudaGetLastError();
  });
}

}  // namespace indexcache::kernels
