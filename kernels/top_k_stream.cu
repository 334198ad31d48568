// SPDX-License-Identifier: Apache-2.0
// Top-k by one block per row that reads the row once.
#include "kernels/architecture.h"
#include "kernels/top_k_marked.cuh"

namespace indexcache::kernels {
namespace {

template <typename Shared, int Resident>
__global__ void __launch_bounds__(Shared::kThreads, Resident) stream_kernel(TopKParams p) {
  extern __shared__ __align__(16) char memory[];
  const std::int64_t index = blockIdx.x;
  const int k = static_cast<int>(p.k);
  std::int32_t* out = p.sets + index * p.sets_stride;
  const Row row{p.scores + index * p.stride, candidates_of(p, index)};
  if (row.candidates <= k) {
    write_all(out, row.candidates, k);
  } else {
    select_row(*reinterpret_cast<Shared*>(memory), row, k, out);
  }
}

template <typename Shared, int Resident>
cudaError_t launch(const TopKParams& params, cudaStream_t stream) {
  const auto kernel = stream_kernel<Shared, Resident>;
  const cudaError_t status = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(sizeof(Shared)));
  if (status != cudaSuccess) return status;
  kernel<<<static_cast<unsigned>(params.rows), Shared::kThreads, sizeof(Shared), stream>>>(params);
  return cudaGetLastError();
}

}  // namespace

bool top_k_stream_applies(const TopKParams& params) {
  const std::size_t bytes = params.k <= LongRows::kMost ? sizeof(LongRows) : sizeof(LargeSets);
  return params.k <= kMostStreamed && bytes <= static_cast<std::size_t>(most_shared_bytes());
}

cudaError_t top_k_stream(const TopKParams& params, cudaStream_t stream) {
  if (!top_k_stream_applies(params)) return cudaErrorInvalidValue;
  if (params.k <= ManyRows::kMost && params.longest <= ManyRows::kMarked) {
    return launch<ManyRows, 6>(params, stream);
  }
  if (params.k <= LongRows::kMost) return launch<LongRows, 3>(params, stream);
  return launch<LargeSets, 1>(params, stream);
}

}  // namespace indexcache::kernels
