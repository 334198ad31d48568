// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm.h"
#include "kernels/quantize_group.cuh"

namespace indexcache::kernels {
namespace {

// `sum` adds a value over the threads that share the row.
template <typename X, typename Out, typename Sum>
__device__ void norm_row(const NormParams& p, std::int64_t row, int thread, int threads,
                         const Sum& sum) {
  const X* x = static_cast<const X*>(p.x) + row * p.x_stride;
  Out* out = static_cast<Out*>(p.out) + row * p.out_stride;
  const auto width = static_cast<float>(p.width);
  float mean = 0;
  if (p.bias != nullptr) {
    float total = 0;
    for (std::int64_t c = thread; c < p.width; c += threads) total += to_float(x[c]);
    mean = sum(total) / width;
  }
  float squares = 0;
  for (std::int64_t c = thread; c < p.width; c += threads) {
    const float centered = to_float(x[c]) - mean;
    squares += centered * centered;
  }
  const float factor = 1.0f / sqrtf(sum(squares) / width + p.eps);
  for (std::int64_t c = thread; c < p.width; c += threads) {
    const float value = p.weight[c] * ((to_float(x[c]) - mean) * factor);
    out[c] = from_float<Out>(p.bias != nullptr ? value + p.bias[c] : value);
  }
}

template <typename X, typename Out>
__global__ void norm_warp_kernel(NormParams p) {
  const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (row >= p.rows) return;
  norm_row<X, Out>(p, row, static_cast<int>(threadIdx.x), kWarp,
                   [](float x) { return warp_sum(x); });
}

template <typename X, typename Out>
__global__ void norm_block_kernel(NormParams p) {
  __shared__ float scratch[32];
  norm_row<X, Out>(p, blockIdx.x, static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x),
                   [&](float x) { return block_sum(x, scratch); });
}

// The same with up to kChunks groups of eight columns per thread, which stay in registers.
constexpr int kChunks = 4;
constexpr int kBlockThreads = 256;

static_assert(kBlockThreads % kGroupLanes == 0);  // a chunk of half a warp is a group

// Writes a thread's columns of a chunk in e4m3; all lanes of a warp call it. `c` is beyond the row
// where there are none.
template <typename Out>
__device__ void quantize_eight(const NormParams& p, std::int64_t row, int c,
                               const float (&values)[kEight]) {
  const bool present = c < p.width;
  float x[kEight];
#pragma unroll
  for (int j = 0; j < kEight; ++j) x[j] = present ? values[j] : 0.0f;
  round_eight<Out>(x);
  QuantizedEight numbers;
  const float scale = quantize_group(numbers, x);
  if (!present) return;
  auto* const to = static_cast<__nv_fp8_e4m3*>(p.quantized) + row * p.width + c;
  *reinterpret_cast<QuantizedEight*>(to) = numbers;
  const std::int64_t groups = ceil_div(p.width, kQuantizedGroup);
  if (c % kQuantizedGroup == 0) p.scales[row * groups + c / kQuantizedGroup] = scale;
}

template <bool kQuantized, typename X, typename Out, typename Sum>
__device__ void norm_row_eights(const NormParams& p, std::int64_t row, int thread, int threads,
                                const Sum& sum) {
  const X* x = static_cast<const X*>(p.x) + row * p.x_stride;
  Out* out = static_cast<Out*>(p.out) + row * p.out_stride;
  const auto width = static_cast<float>(p.width);
  float values[kChunks][kEight];
  const auto for_own = [&](const auto& body) {
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      const int c = (i * threads + thread) * kEight;
      if (c < p.width) body(values[i], c);
    }
  };
  for_own([&](float(&v)[kEight], int c) { load_eight(v, x + c); });
  float mean = 0;
  if (p.bias != nullptr) {
    float total = 0;
    for_own([&](const float(&v)[kEight], int) {
#pragma unroll
      for (int j = 0; j < kEight; ++j) total += v[j];
    });
    mean = sum(total) / width;
  }
  float squares = 0;
  for_own([&](float(&v)[kEight], int) {
#pragma unroll
    for (int j = 0; j < kEight; ++j) {
      v[j] -= mean;
      squares += v[j] * v[j];
    }
  });
  const float factor = 1.0f / sqrtf(sum(squares) / width + p.eps);
  for_own([&](float(&v)[kEight], int c) {
    float weight[kEight], bias[kEight] = {};
    load_eight(weight, p.weight + c);
    if (p.bias != nullptr) load_eight(bias, p.bias + c);
#pragma unroll
    for (int j = 0; j < kEight; ++j) {
      const float value = weight[j] * (v[j] * factor);
      v[j] = p.bias != nullptr ? value + bias[j] : value;
    }
    store_eight(out + c, v);
  });
  if constexpr (kQuantized) {
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      if (i * threads * kEight >= p.width) break;
      quantize_eight<Out>(p, row, (i * threads + thread) * kEight, values[i]);
    }
  }
}

template <bool kQuantized, typename X, typename Out>
__global__ void norm_warp_eights_kernel(NormParams p) {
  const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (row >= p.rows) return;
  norm_row_eights<kQuantized, X, Out>(p, row, static_cast<int>(threadIdx.x), kWarp,
                                      [](float x) { return warp_sum(x); });
}

template <bool kQuantized, typename X, typename Out>
__global__ void norm_block_eights_kernel(NormParams p) {
  __shared__ float scratch[32];
  norm_row_eights<kQuantized, X, Out>(p, blockIdx.x, static_cast<int>(threadIdx.x), kBlockThreads,
                                      [&](float x) { return block_sum(x, scratch); });
}

bool takes_eights(const NormParams& p) {
  return p.width <= kChunks * kEight * kBlockThreads &&
         whole_eights(p.x, p.x_type, p.x_stride, p.width) &&
         whole_eights(p.out, p.out_type, p.out_stride, p.width) &&
         whole_eights(p.weight, Type::f32, 0, p.width) &&
         whole_eights(p.bias, Type::f32, 0, p.width);
}

template <typename X, typename Out>
cudaError_t launch(const NormParams& p, cudaStream_t stream) {
  constexpr int kRows = 8;  // of a block of warps
  const auto warps = static_cast<unsigned>(ceil_div(p.rows, kRows));
  const auto rows = static_cast<unsigned>(p.rows);
  const bool by_warp = p.width <= kChunks * kEight * kWarp, quantized = p.quantized != nullptr;
  if (takes_eights(p) && by_warp) {
    const auto kernel =
        quantized ? norm_warp_eights_kernel<true, X, Out> : norm_warp_eights_kernel<false, X, Out>;
    kernel<<<warps, dim3(kWarp, kRows), 0, stream>>>(p);
  } else if (takes_eights(p)) {
    const auto kernel = quantized ? norm_block_eights_kernel<true, X, Out>
                                  : norm_block_eights_kernel<false, X, Out>;
    kernel<<<rows, kBlockThreads, 0, stream>>>(p);
  } else if (by_warp) {
    norm_warp_kernel<X, Out><<<warps, dim3(kWarp, kRows), 0, stream>>>(p);
  } else {
    norm_block_kernel<X, Out><<<rows, kBlockThreads, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

// Quantization by itself, after kernels that leave it out.
cudaError_t quantize_out(const NormParams& p, cudaStream_t stream) {
  return block_quantize({.x = p.out,
                         .type = p.out_type,
                         .x_stride = p.out_stride,
                         .out = p.quantized,
                         .scales = p.scales,
                         .rows = p.rows,
                         .width = p.width},
                        stream);
}

}  // namespace

cudaError_t norm(const NormParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  const cudaError_t status = with_float_type(params.x_type, [&](auto x) {
    return with_float_type(params.out_type, [&](auto out) {
      return launch<decltype(x), decltype(out)>(params, stream);
    });
  });
  if (status != cudaSuccess || params.quantized == nullptr || takes_eights(params)) return status;
  return quantize_out(params, stream);
}

}  // namespace indexcache::kernels
