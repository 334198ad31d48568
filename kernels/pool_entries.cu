// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/pool_entries.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 128;

// The positions that one entry is pooled from, and the column of each that a thread reads.
template <typename X>
struct Slots {
  const PoolEntriesParams& p;
  const X* x;   // the first of the entry's own positions
  bool before;  // whether the positions before them take part
  int column;

  // Calls visit(value, logit) of every slot, in the order of positions.
  template <typename Visit>
  __device__ void for_each(const Visit& visit) const {
    const int own = p.n > p.width ? p.width + column : column;
    if (before) visit_positions(x - p.ratio * p.x_stride, column, visit);
    visit_positions(x, own, visit);
  }

 private:
  template <typename Visit>
  __device__ void visit_positions(const X* first, int at, const Visit& visit) const {
#pragma unroll 4
    for (int i = 0; i < p.ratio; ++i) {
      const X* row = first + i * p.x_stride;
      visit(to_float(row[at]), to_float(row[p.n + at]) + p.bias[i * p.n + at]);
    }
  }
};

// A block has one entry, a thread one of its columns; the second look at the gates hits a cache.
template <typename X, typename Out>
__global__ void __launch_bounds__(kThreads) pool_kernel(PoolEntriesParams p) {
  const std::int64_t entry = blockIdx.x;
  const int column = static_cast<int>(blockIdx.y) * kThreads + static_cast<int>(threadIdx.x);
  if (column >= p.width) return;
  const RowPlace place = p.places[entry];
  const std::int64_t first = std::int64_t{place.key_base} + place.position;
  const Slots<X> slots{p, static_cast<const X*>(p.x) + first * p.x_stride,
                       p.n > p.width && place.position > 0, column};
  float peak = -INFINITY;
  slots.for_each([&](float, float logit) { peak = fmaxf(peak, logit); });
  float total = 0, sum = 0;
  slots.for_each([&](float value, float logit) {
    const float weight = expf(logit - peak);
    total += weight;
    sum = fmaf(weight, value, sum);
  });
  static_cast<Out*>(p.out)[entry * p.out_stride + column] = from_float<Out>(sum / total);
}

}  // namespace

cudaError_t pool_entries(const PoolEntriesParams& params, cudaStream_t stream) {
  if (params.entries == 0) return cudaSuccess;
  if (params.ratio < 1 || params.width < 1 ||
      (params.n != params.width && params.n != 2 * params.width)) {
    return cudaErrorInvalidValue;
  }
  const dim3 grid(static_cast<unsigned>(params.entries),
                  static_cast<unsigned>(ceil_div(params.width, kThreads)));
  return with_float_type(params.type, [&](auto x) {
    return with_float_type(params.out_type, [&](auto out) {
      pool_kernel<decltype(x), decltype(out)><<<grid, kThreads, 0, stream>>>(params);
      return cudaGetLastError();
    });
  });
}

}  // namespace indexcache::kernels
