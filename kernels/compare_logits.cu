// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/compare_logits.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 256;

struct Top {
  float logit;
  std::int64_t token;
};

struct Tops {
  Top reference, row;
};

struct Sums {
  double reference, row;  // of exponentials
  double weighted;        // of the reference's exponentials times differences of shifted logits
};

__device__ Top higher(Top a, Top b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token) ? a : b;
}

__device__ Tops combined(const Tops& a, const Tops& b) {
  return {higher(a.reference, b.reference), higher(a.row, b.row)};
}

__device__ Sums combined(const Sums& a, const Sums& b) {
  return {a.reference + b.reference, a.row + b.row, a.weighted + b.weighted};
}

// Of all threads, in a tree; the same value in every thread. `scratch` holds kThreads values.
template <typename T>
__device__ T reduced(const T& value, T* scratch) {
  scratch[threadIdx.x] = value;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) {
      scratch[threadIdx.x] = combined(scratch[threadIdx.x], scratch[threadIdx.x + half]);
    }
  }
  __syncthreads();
  return scratch[0];
}

__device__ Tops tops_of(const float* reference, const float* logits, std::int64_t vocabulary) {
  Tops tops = {{-INFINITY, vocabulary}, {-INFINITY, vocabulary}};
  for (std::int64_t v = threadIdx.x; v < vocabulary; v += kThreads) {
    tops = combined(tops, {{reference[v], v}, {logits[v], v}});
  }
  return tops;
}

// Partial sums are float64: the result is a small difference of large sums, and what a float32 sum
// rounds away of 100,000 terms would be visible in it.
__device__ Sums sums_of(const float* reference, const float* logits, std::int64_t vocabulary,
                        const Tops& tops) {
  Sums sums = {0, 0, 0};
  for (std::int64_t v = threadIdx.x; v < vocabulary; v += kThreads) {
    const float r = reference[v] - tops.reference.logit;
    const float x = logits[v] - tops.row.logit;
    const float weight = expf(r);
    sums.reference += static_cast<double>(weight);
    sums.row += static_cast<double>(expf(x));
    sums.weighted += static_cast<double>(weight * (r - x));
  }
  return sums;
}

__global__ void __launch_bounds__(kThreads) compare_logits_kernel(CompareLogitsParams p) {
  __shared__ Tops top_scratch[kThreads];
  __shared__ Sums sum_scratch[kThreads];
  const std::int64_t row = blockIdx.x;
  if (p.targets[row] < 0) {
    if (threadIdx.x == 0) p.kl[row] = 0, p.same_top[row] = 0;
    return;
  }
  const float* reference = p.reference + row * p.vocabulary;
  const float* logits = p.logits + row * p.vocabulary;
  const Tops tops = reduced(tops_of(reference, logits, p.vocabulary), top_scratch);
  const Sums sums = reduced(sums_of(reference, logits, p.vocabulary, tops), sum_scratch);
  if (threadIdx.x != 0) return;
  // With r and x shifted by their maxima: sum_v p_v (r_v - x_v) - log sum exp r + log sum exp x.
  const double kl = sums.weighted / sums.reference + log(sums.row / sums.reference);
  p.kl[row] = kl < 0 ? 0 : kl;  // rounding; not a NaN
  p.same_top[row] = tops.reference.token == tops.row.token ? 1 : 0;
}

}  // namespace

cudaError_t compare_logits(const CompareLogitsParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  compare_logits_kernel<<<static_cast<unsigned>(params.rows), kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
