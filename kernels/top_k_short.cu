// SPDX-License-Identifier: Apache-2.0
// Top-k of short rows: a block holds the whole row in registers, so that it is read once and only
// the histogram and the bitmap of what is selected are in shared memory.
#include "kernels/top_k.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kResident = 1536;  // threads of a multiprocessor, for 40 registers

template <int Threads, int Vectors>
struct HeldEntries {
  std::uint32_t keys[4 * Vectors];
  int candidates;

  __device__ static int position(int vector) {
    return 4 * (vector * Threads + static_cast<int>(threadIdx.x));
  }

  __device__ void load(const float* scores) {
    float four[4 * Vectors];
#pragma unroll
    for (int v = 0; v < Vectors; ++v) {
      const int i = position(v);
      if (i + 4 <= candidates) {
        const float4 whole = __ldcs(reinterpret_cast<const float4*>(scores + i));
        four[4 * v] = whole.x, four[4 * v + 1] = whole.y;
        four[4 * v + 2] = whole.z, four[4 * v + 3] = whole.w;
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) four[4 * v + j] = i + j < candidates ? scores[i + j] : 0.0f;
      }
    }
#pragma unroll
    for (int j = 0; j < 4 * Vectors; ++j) keys[j] = sortable(four[j]);
  }

  template <typename F>
  __device__ void each(const F& f) const {
#pragma unroll
    for (int j = 0; j < 4 * Vectors; ++j) {
      const int at = position(j / 4) + j % 4;
      f(at < candidates, keys[j], at);
    }
  }
};

template <int Threads, int Vectors>
__global__ void __launch_bounds__(Threads, kResident / Threads) short_kernel(TopKParams p) {
  __shared__ Chooser<Threads, kBins> chooser;
  const std::int64_t row = blockIdx.x;
  std::int32_t* out = p.sets + row * p.sets_stride;
  const int k = static_cast<int>(p.k);
  HeldEntries<Threads, Vectors> entries;
  entries.candidates = candidates_of(p, row);
  if (entries.candidates <= k) {
    write_all(out, entries.candidates, k);
    return;
  }
  entries.load(p.scores + row * p.stride);
  const Threshold threshold = choose(chooser, entries, k);
  write_chosen(chooser, entries, threshold, entries.candidates, out);
}

template <int Threads, int Vectors>
cudaError_t launch(const TopKParams& params, cudaStream_t stream) {
  short_kernel<Threads, Vectors>
      <<<static_cast<unsigned>(params.rows), Threads, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace

cudaError_t top_k_short(const TopKParams& params, cudaStream_t stream) {
  if (params.longest <= 1024) return launch<256, 1>(params, stream);
  if (params.longest <= 2048) return launch<512, 1>(params, stream);
  if (params.longest <= kMostHeld) return launch<512, kMostHeld / 2048>(params, stream);
  return cudaErrorInvalidValue;
}

}  // namespace indexcache::kernels
